"""LiteRT models for Android (`.tflite`): converted by litert-torch, quantised by ai-edge-quantizer."""
