//! The one way in which kinds of faults and kinds of expectations are listed: what a scenario file may say, and the manual.

/// A table of kinds: `"key" => module::Type` each. Makes the modules, an enum that reads any of them under its key, and
/// `MANUAL`, their manual in the order of the table.
macro_rules! kind_table {
    ($(#[$doc:meta])* enum $spec:ident: $kind:ident { $($name:literal => $module:ident::$type:ident,)* }) => {
        $(mod $module; pub use $module::$type;)*

        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        pub enum $spec {
            $(#[doc = concat!("See the manual of `", $name, "`.")] #[serde(rename = $name)] $type($type),)*
        }

        impl $spec {
            /// What is behind the key.
            #[must_use]
            pub fn kind(&self) -> &dyn $kind {
                match self { $(Self::$type(inner) => inner,)* }
            }

            /// Its key in the scenario file.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$type(_) => $name,)* }
            }
        }

        /// The manual of all of them, in the order of the table.
        pub const MANUAL: &[$crate::manual::ManualEntry] = &[$($crate::manual::ManualEntry {
            name: $name,
            manual: <$type as $crate::manual::Documented>::MANUAL,
            example: <$type as $crate::manual::Documented>::EXAMPLE,
        },)*];
    };
}

pub(crate) use kind_table;
