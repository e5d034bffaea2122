"""ONNX files: fp32 from the network, fp16 and int8 from the fp32 file."""
