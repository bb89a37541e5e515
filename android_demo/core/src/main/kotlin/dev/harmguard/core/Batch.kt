package dev.harmguard.core

/** Model inputs of [rows] windows of [length] ids each, row after row; the mask is 1 on tokens and 0 on padding. */
public class Batch(
    public val rows: Int,
    public val length: Int,
    public val ids: LongArray,
    public val mask: LongArray,
    public val types: LongArray,
)
