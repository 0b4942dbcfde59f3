//! Load generator on the wire itself.
