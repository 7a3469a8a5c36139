//! Every sentence that people read, in every language, in one table.
//!
//! A message is a value: it is made without knowing the language, and becomes text where it is printed. A message
//! without one of the languages does not compile. Help texts and JSON names stay English.

mod hint;
mod label;
mod notice;
mod problem;

pub(crate) use hint::Hint;
pub(crate) use label::Label;
pub(crate) use notice::Notice;
pub(crate) use problem::Problem;

use super::environment::Environment;

/// A language that messages exist in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lang {
    /// English.
    #[value(name = "en")]
    En,
    /// Simplified Chinese.
    #[value(name = "zh-CN", alias = "zh")]
    ZhCn,
}

impl Lang {
    /// The language that was asked for, else the one of the locale, else English.
    pub(crate) fn choose(flag: Option<Self>, environment: &Environment) -> Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| environment.get(name));
        let chinese = locale.is_some_and(|locale| locale.to_ascii_lowercase().starts_with("zh"));
        flag.unwrap_or(if chinese { Self::ZhCn } else { Self::En })
    }

    /// Its name as `--lang` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }
}

/// Declares an enum of messages: each variant has named values and one template a language, first English, then Chinese.
/// A macro, because templates must be literals for their values to be checked when compiling.
macro_rules! messages {
    (
        $(#[$attribute:meta])*
        $name:ident {
            $( $id:ident { $($value:ident: $type:ty),* } $english:literal $chinese:literal )*
        }
    ) => {
        $(#[$attribute])*
        pub(crate) enum $name {
            $( #[allow(missing_docs)] $id { $($value: $type),* } ),*
        }

        impl $name {
            /// The sentence in `lang`.
            #[allow(clippy::too_many_lines, reason = "it is a table")]
            pub(crate) fn text(&self, lang: $crate::cli::messages::Lang) -> String {
                match self {
                    $( Self::$id { $($value),* } => match lang {
                        $crate::cli::messages::Lang::En => format!($english),
                        $crate::cli::messages::Lang::ZhCn => format!($chinese),
                    } ),*
                }
            }

            /// Every template: its id, English, Chinese.
            #[cfg(test)]
            pub(crate) const TEMPLATES: &[(&str, &str, &str)] = &[ $( (stringify!($id), $english, $chinese) ),* ];
        }
    };
}
use messages;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
        [Problem::TEMPLATES, Hint::TEMPLATES, Notice::TEMPLATES, Label::TEMPLATES].into_iter().flatten()
    }

    fn values(template: &str) -> BTreeSet<&str> {
        template.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn both_languages_of_a_message_use_the_same_values() {
        for (id, english, chinese) in all() {
            assert_eq!(values(english), values(chinese), "{id}");
        }
    }

    #[test]
    fn chinese_messages_are_chinese_and_english_ones_are_not() {
        let is_han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        for (id, english, chinese) in all() {
            let words = |template: &str| {
                let outside =
                    template.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
                outside.collect::<String>().chars().any(char::is_alphabetic)
            };
            assert!(!english.chars().any(is_han), "{id}");
            assert!(!words(english) || chinese.chars().any(is_han), "{id}: {chinese}");
        }
    }

    #[test]
    fn problems_and_hints_begin_small_and_end_without_a_stop() {
        for (id, english, _) in Problem::TEMPLATES.iter().chain(Hint::TEMPLATES) {
            assert!(!english.ends_with('.'), "{id}: {english}");
            assert!(
                !english.starts_with(|c: char| c.is_ascii_uppercase()) || english.starts_with("SHUDAO"),
                "{id}"
            );
        }
    }

    #[test]
    fn the_language_is_the_flag_s_then_the_locale_s_then_english() {
        let cases: [(&[(&str, &str)], Lang); 5] = [
            (&[], Lang::En),
            (&[("LANG", "zh_CN.UTF-8")], Lang::ZhCn),
            (&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")], Lang::En),
            (&[("LANG", "en_US.UTF-8"), ("LC_MESSAGES", "zh_CN")], Lang::ZhCn),
            (&[("LANG", "de_DE")], Lang::En),
        ];
        for (variables, lang) in cases {
            assert_eq!(Lang::choose(None, &Environment::of(variables)), lang, "{variables:?}");
        }
        assert_eq!(Lang::choose(Some(Lang::En), &Environment::of(&[("LANG", "zh_CN")])), Lang::En);
    }
}
