"""The same models in PyTorch, to be measured beside ours. It is no dependency: nothing else imports this package."""
