//! NOR flash model: shared pages, wear counters, power cuts, tear models
