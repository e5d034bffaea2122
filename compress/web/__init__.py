"""A folder for browsers: the page of runtime/web with a model, its hand model and onnxruntime-web."""
