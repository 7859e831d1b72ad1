"""Pure Flax Linen models, one architecture a file: `model(x, train=...)`, parameters in float32."""
