//! Fact: one thing that was measured, with a name and a unit in it. All evidence is a flat list of
//! them, so that it can be written down and read again by anybody.

use std::fmt;
use std::time::Duration;

use crate::cause::Cause;
use crate::transport::Transport;

/// The value of a piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// A number; the unit stands at the end of the name, `_us` or `_bytes` say.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// A word from a closed list, or a text for people.
    Text(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Number(number) => number.fmt(f),
            Fact::Flag(flag) => flag.fmt(f),
            Fact::Text(text) => text.fmt(f),
        }
    }
}

/// A type that a fact can have in the evidence, and how it is written down.
pub(super) trait Value: Sized {
    fn to_fact(&self) -> Fact;
    /// None where the fact is of another kind, or says something that is not known.
    fn of(fact: &Fact) -> Option<Self>;
}

impl Value for bool {
    fn to_fact(&self) -> Fact {
        Fact::Flag(*self)
    }

    fn of(fact: &Fact) -> Option<bool> {
        if let Fact::Flag(flag) = fact { Some(*flag) } else { None }
    }
}

impl Value for String {
    fn to_fact(&self) -> Fact {
        Fact::Text(self.clone())
    }

    fn of(fact: &Fact) -> Option<String> {
        if let Fact::Text(text) = fact { Some(text.clone()) } else { None }
    }
}

/// Microseconds.
impl Value for Duration {
    fn to_fact(&self) -> Fact {
        Fact::Number(u64::try_from(self.as_micros()).unwrap_or(u64::MAX))
    }

    fn of(fact: &Fact) -> Option<Duration> {
        if let Fact::Number(us) = fact { Some(Duration::from_micros(*us)) } else { None }
    }
}

impl Value for Cause {
    fn to_fact(&self) -> Fact {
        Fact::Text(self.word().to_owned())
    }

    fn of(fact: &Fact) -> Option<Cause> {
        if let Fact::Text(word) = fact { Cause::from_word(word) } else { None }
    }
}

impl Value for Transport {
    fn to_fact(&self) -> Fact {
        Fact::Text(self.word().to_owned())
    }

    fn of(fact: &Fact) -> Option<Transport> {
        if let Fact::Text(word) = fact { Transport::from_word(word) } else { None }
    }
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn to_fact(&self) -> Fact {
                Fact::Number(u64::from(*self))
            }

            fn of(fact: &Fact) -> Option<$kind> {
                if let Fact::Number(number) = fact { (*number).try_into().ok() } else { None }
            }
        }
    )*};
}

numbers!(u8, u32, u64);

/// An enum whose variants are words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            pub(crate) fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl $crate::diagnose::fact::Value for $name {
            fn to_fact(&self) -> $crate::diagnose::Fact {
                $crate::diagnose::Fact::Text(self.word().to_owned())
            }

            fn of(fact: &$crate::diagnose::Fact) -> Option<$name> {
                let $crate::diagnose::Fact::Text(word) = fact else { return None };
                [$($name::$variant),*].into_iter().find(|known| known.word() == word)
            }
        }
    };
}

/// What a user reads one fact by: a word where it is one of a closed list of our own.
macro_rules! getter {
    ($(#[$doc:meta])+ $name:ident: String) => {
        $(#[$doc])+
        pub fn $name(&self) -> Option<&str> {
            self.$name.as_deref()
        }
    };
    ($(#[$doc:meta])+ $name:ident: Stage) => { getter! { @word $(#[$doc])+ $name } };
    ($(#[$doc:meta])+ $name:ident: Service) => { getter! { @word $(#[$doc])+ $name } };
    ($(#[$doc:meta])+ $name:ident: Said) => { getter! { @word $(#[$doc])+ $name } };
    ($(#[$doc:meta])+ $name:ident: Kept) => { getter! { @word $(#[$doc])+ $name } };
    ($(#[$doc:meta])+ $name:ident: Fresh) => { getter! { @word $(#[$doc])+ $name } };
    ($(#[$doc:meta])+ $name:ident: Carried) => { getter! { @word $(#[$doc])+ $name } };
    ($(#[$doc:meta])+ $name:ident: Old) => { getter! { @word $(#[$doc])+ $name } };
    (@word $(#[$doc:meta])+ $name:ident) => {
        $(#[$doc])+
        pub fn $name(&self) -> Option<&'static str> {
            self.$name.map(|word| word.word())
        }
    };
    ($(#[$doc:meta])+ $name:ident: $kind:ident) => {
        $(#[$doc])+
        pub fn $name(&self) -> Option<$kind> {
            self.$name
        }
    };
}

pub(super) use {getter, words};
