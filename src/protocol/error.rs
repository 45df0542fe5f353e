//! Why bytes are not a message.

/// Why bytes are not a message, or a message makes no sense. Small enough to count and forget:
/// such messages are acknowledged and ignored, never answered (`docs/PROTOCOL.md` §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No message of this kind has this id; newer peers may know more than we do.
    #[error("unknown message id {0}")]
    UnknownId(u16),
    /// The body ends inside a field.
    #[error("the message ends too early")]
    Truncated,
    /// The body goes on after its last field.
    #[error("the message has bytes after its end")]
    TrailingBytes,
    /// A text is longer than its field allows.
    #[error("a text is longer than {max_units} UTF-16 units")]
    TextTooLong {
        /// The field's limit, in UTF-16 code units.
        max_units: usize,
    },
    /// A field has a value that it must not have.
    #[error("{field} must not be {value}")]
    InvalidValue {
        /// Which field.
        field: &'static str,
        /// What was in it.
        value: u32,
    },
    /// The peer asks for CELT, which only Jamulus before 3.x spoke: answer `OpusSupported`.
    #[error("the CELT codec is obsolete")]
    ObsoleteCodec,
}
