//! The one macro that declares a jute record: its fields in wire order are its encoder and its decoder.

/// Declares a jute record: a struct whose fields, in order, are its wire form.
///
/// A record with borrowed fields names its lifetime: `record! { pub struct Delete<'a> { path: UStr<'a>, version: i32 } }`.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident<$lt:lifetime> { $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name<$lt> { $($(#[$fmeta])* pub $field: $ty),* }
        impl<$lt> $crate::jute::Field<$lt> for $name<$lt> {
            fn read(r: &mut $crate::jute::Reader<$lt>) -> Result<Self, $crate::jute::DecodeError> {
                Ok(Self { $($field: $crate::jute::Field::read(r)?),* })
            }
            fn write(&self, out: &mut Vec<u8>) { $($crate::jute::Field::write(&self.$field, out);)* }
        }
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty),* }
        impl<'a> $crate::jute::Field<'a> for $name {
            fn read(r: &mut $crate::jute::Reader<'a>) -> Result<Self, $crate::jute::DecodeError> {
                Ok(Self { $($field: $crate::jute::Field::read(r)?),* })
            }
            fn write(&self, out: &mut Vec<u8>) { $($crate::jute::Field::write(&self.$field, out);)* }
        }
    };
}
