package dev.harmguard.core.bundle

// The operators that a guard's graph may have, as in harmguard/bundle/operators.py: each ends, and gives the same on the same input.

private fun names(list: String): Set<String> = list.trim().split(Regex("\\s+")).toSet()

/** What they give has at most the elements of their first input. */
internal val FIRST_INPUT: Set<String> = names(
    """
    Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh CumSum
    DepthToSpace DequantizeLinear DynamicQuantizeLinear Elu Erf Exp Flatten Floor Gelu GlobalAveragePool GlobalMaxPool HardSigmoid
    HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization
    MeanVarianceNormalization Mish Neg Not QuantizeLinear RMSNormalization Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shrink Sigmoid Sign
    SimplifiedLayerNormalization Sin Sinh Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Swish Tan Tanh
    ThresholdedRelu TopK Transpose Trilu Unsqueeze
    """,
)

/** What they give may be of any size, whatever the size of their inputs. */
internal val AMPLIFYING: Set<String> = names("EyeLike OneHot Pad Resize")

/** Of the domain ai.onnx. */
internal val STANDARD: Set<String> = FIRST_INPUT + AMPLIFYING + names(
    """
    Add And Attention AveragePool BitShift BitwiseAnd BitwiseOr BitwiseXor Compress Concat Constant ConstantOfShape Conv ConvInteger
    Div Einsum Equal Expand GRU Gather GatherElements GatherND Gemm Greater GreaterOrEqual GroupNormalization LSTM Less LessOrEqual
    MatMul MatMulInteger Max MaxPool Mean Min Mod Mul NonZero Or PRelu Pow QLinearConv QLinearMatMul Range RotaryEmbedding Scan
    ScatterElements ScatterND Shape Size Sub Sum SwiGLU Tile Where Xor
    """,
)

/** Of the domain com.microsoft, the runtime's own. */
internal val MICROSOFT: Set<String> = names(
    """
    Attention BiasAdd BiasGelu BiasSoftmax BiasSplitGelu DequantizeLinear DynamicQuantizeMatMul EmbedLayerNormalization FastGelu
    FusedConv FusedGemm FusedMatMul GatherBlockQuantized GatherND Gelu GemmFastGelu GroupQueryAttention Inverse MatMulBnb4
    MatMulInteger16 MatMulIntegerToFloat MatMulNBits MulInteger MultiHeadAttention PackedAttention PackedMultiHeadAttention QAttention
    QEmbedLayerNormalization QGemm QLinearAdd QLinearConcat QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
    QOrderedMatMul QuantizeLinear QuickGelu RelativePositionBias RemovePadding RestorePadding RotaryEmbedding SkipGroupNorm
    SkipLayerNormalization SkipSimplifiedLayerNormalization Trilu
    """,
)
