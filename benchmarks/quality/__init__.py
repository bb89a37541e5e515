"""How well a guard judges: on labelled rows, in long text, in disguise, as a stream."""
