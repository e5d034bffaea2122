"""Run by the Python that has litert-torch, whose packages clash with this project's: a torch program -> `.tflite`.

Nothing of this project is imported here: that Python has none of it.
"""

import sys

import litert_torch
import torch

if __name__ == "__main__":
    source, target, input_name, side = sys.argv[1:]
    image = torch.zeros(1, 3, int(side), int(side))
    network = torch.export.load(source).module()
    # Its own folding leaves index tables to be computed on the device, by operators that GPUs lack.
    model = litert_torch.convert(network, sample_kwargs={input_name: image}, runtime_constant_folding=True)
    model.export(target)
