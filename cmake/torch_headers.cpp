// The target that owns the precompiled header needs a source of its own.
