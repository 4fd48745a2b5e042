"""Operators that the backward sweep has a rule for, by their plain names (`prunus.operators`)."""

# fmt: off
POINTWISE = {
    "identity", "clone", "contiguous", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout",
    "featurealphadropout", "relu", "relu6", "leakyrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish",
    "hardswish", "hardsigmoid", "hardtanh", "hardshrink", "sigmoid", "tanh", "softplus", "softsign", "softshrink",
    "logsigmoid", "tanhshrink", "threshold", "clamp", "neg", "abs", "exp", "square", "add", "iadd", "sub", "isub",
    "mul", "imul", "truediv", "itruediv", "div", "batchnorm1d", "batchnorm2d", "batchnorm3d",
}
"""Of one tensor, with constants: every entry of the result is a function of one entry."""

SELECTING = {
    "flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "getitem", "pad", "zeropad2d",
    "reflectionpad2d", "replicationpad2d", "cat", "add", "iadd", "maxpool1d", "maxpool2d", "maxpool3d",
    "adaptivemaxpool1d", "adaptivemaxpool2d", "adaptivemaxpool3d",
}
"""Every entry of the result is an entry, or a sum of entries: the Jacobian is made of zeros and ones."""

POOLING = {
    "mean", "avgpool1d", "avgpool2d", "avgpool3d", "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d",
}
"""Linear in each channel of (batch, channels, ...), and the same in all of them."""
# fmt: on
