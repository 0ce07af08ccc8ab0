"""Pure tensor code that knows no transformer: how the matrices of adapters are made and applied."""
