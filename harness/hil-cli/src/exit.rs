//! How a command ends: one exit code for each kind of ending, and a message that says what to do next.

use std::process::ExitCode;

/// The kind of ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// Our own fault.
    Internal,
    /// Whoever read our output went away (`| head`): nobody is left to tell.
    OutputClosed,
    /// The command line asks for what cannot be.
    Usage,
    /// A file given is not what it should be.
    InvalidFile,
    /// The filters name nothing.
    NothingSelected,
    /// The rack failed; nothing can be said of the product.
    RackFault,
    /// Nothing failed, and something could not be shown.
    Inconclusive,
    /// The product refuses, or fails.
    Product,
    /// Stopped by SIGINT; what finished is reported.
    Interrupted,
}

impl ExitClass {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Internal | Self::OutputClosed => 1,
            Self::Usage => 2,
            Self::InvalidFile => 3,
            Self::NothingSelected => 4,
            Self::RackFault => 5,
            Self::Inconclusive => 6,
            Self::Product => 100,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// What kind of ending.
    pub class: ExitClass,
    /// Where and what.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl CommandError {
    /// An ending of this class.
    pub fn new(class: ExitClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    /// Our own fault, or the system's.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ExitClass::Internal, message)
    }

    /// The command line asks for what cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitClass::Usage, message)
    }

    /// A file given is not what it should be.
    pub fn invalid_file(message: impl Into<String>) -> Self {
        Self::new(ExitClass::InvalidFile, message)
    }

    /// The product refuses.
    pub fn product(message: impl Into<String>) -> Self {
        Self::new(ExitClass::Product, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Writing the answer failed: a full disk, or a pipe whose reader went away.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        let class = match error.kind() {
            std::io::ErrorKind::BrokenPipe => ExitClass::OutputClosed,
            _ => ExitClass::Internal,
        };
        Self::new(class, format!("writing the output: {error}"))
    }
}

/// Says on standard error how the command ended, and turns it into the exit code.
pub fn report(result: Result<(), CommandError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if error.class == ExitClass::OutputClosed {
        return ExitCode::from(error.class.code());
    }
    eprintln!("hil: {error}");
    if let Some(hint) = &error.hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(error.class.code())
}
