"""TensorRT engines: built on the device and looked into; without one, proof that a graph parses and builds."""
