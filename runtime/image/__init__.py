"""Images from outside, the crop a network looks at, and drawing on them."""
