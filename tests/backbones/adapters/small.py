"""What is quick to build, to fill with values of its own, and to save and read again."""

import torch

CARD = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "epsilon": 1e-3}
PART = {"layers": 1, "ffn_dim": 32, "attention_heads": 2}
DETR = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in PART.items()}
DETR |= {"d_model": 32, "num_queries": 5}


def filled(model):
    """Give every tensor, counters included, values of its own."""
    torch.manual_seed(1)
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1) if key.endswith("var") else tensor.uniform_(-0.3, 0.3)
        elif key.endswith("num_batches_tracked"):
            tensor.fill_(7)
    return model


def read_again(model, folder, **options):
    """Save a model of transformers to a folder, and return what is read from there."""
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder, **options)


def same_tensors(found, expected):
    """Expect the same state dict, bit for bit."""
    found, expected = dict(found.state_dict()), dict(expected.state_dict())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def trained(body):
    """Return which stages get gradients, and which have norms in training mode, by number."""
    grads = [any(p.requires_grad for m in stage for p in m.parameters()) for stage in body.stages()]
    modes = [any(n.training for m in stage for n in m.modules()) for stage in body.stages()]
    return [k for k, on in enumerate(grads) if on], [k for k, on in enumerate(modes) if on]
