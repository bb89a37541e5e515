"""The operators that a guard's graph may have: each ends, and gives the same on the same input.

Not here, on purpose: loops and branches, random numbers, sequences, strings and regular
expressions, images, windows of signals, and what samples or generates text.
"""

from __future__ import annotations

FIRST_INPUT = frozenset(
    "Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitwiseNot Cast "
    "CastLike Ceil Celu Clip Cos Cosh CumSum DepthToSpace DequantizeLinear "
    "DynamicQuantizeLinear Elu Erf Exp Flatten Floor Gelu GlobalAveragePool GlobalMaxPool "
    "HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN "
    "LayerNormalization LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization "
    "Mish Neg Not QuantizeLinear RMSNormalization Reciprocal ReduceL1 ReduceL2 ReduceLogSum "
    "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu "
    "Reshape Round Selu Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Slice "
    "Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Swish Tan Tanh ThresholdedRelu "
    "TopK Transpose Trilu Unsqueeze".split()
)
"""What they give has at most the elements of their first input."""
AMPLIFYING = frozenset("EyeLike OneHot Pad Resize".split())
"""What they give may be of any size, whatever the size of their inputs."""
STANDARD = (
    FIRST_INPUT
    | AMPLIFYING
    | frozenset(
        "Add And Attention AveragePool BitShift BitwiseAnd BitwiseOr BitwiseXor Compress Concat "
        "Constant ConstantOfShape Conv ConvInteger Div Einsum Equal Expand GRU Gather "
        "GatherElements GatherND Gemm Greater GreaterOrEqual GroupNormalization LSTM Less "
        "LessOrEqual MatMul MatMulInteger Max MaxPool Mean Min Mod Mul NonZero Or PRelu Pow "
        "QLinearConv QLinearMatMul Range RotaryEmbedding Scan ScatterElements ScatterND Shape "
        "Size Sub Sum SwiGLU Tile Where Xor".split()
    )
)
"""Of the domain ai.onnx."""
MICROSOFT = frozenset(
    "Attention BiasAdd BiasGelu BiasSoftmax BiasSplitGelu DequantizeLinear "
    "DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul "
    "GatherBlockQuantized GatherND Gelu GemmFastGelu GroupQueryAttention Inverse MatMulBnb4 "
    "MatMulInteger16 MatMulIntegerToFloat MatMulNBits MulInteger MultiHeadAttention "
    "PackedAttention PackedMultiHeadAttention QAttention QEmbedLayerNormalization QGemm "
    "QLinearAdd QLinearConcat QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax "
    "QLinearWhere QOrderedMatMul QuantizeLinear QuickGelu RelativePositionBias RemovePadding "
    "RestorePadding RotaryEmbedding SkipGroupNorm SkipLayerNormalization "
    "SkipSimplifiedLayerNormalization Trilu".split()
)
"""Of the domain com.microsoft, onnxruntime's own."""
