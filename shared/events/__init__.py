"""The facts that services tell: one module a publisher, one class a fact."""
