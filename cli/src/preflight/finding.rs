//! One line of a check.

use serde::Serialize;

/// What a finding means for the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; in nobody's way.
    Note,
    /// In the way.
    Refused,
}

/// What was looked at, what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a stable word for programs.
    pub subject: &'static str,
    /// What it means.
    pub verdict: Verdict,
    /// What was found, for people.
    pub text: String,
    /// What the user can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn good(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, text: text.into(), advice: None }
    }

    /// Worth knowing.
    pub fn note(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Note, text: text.into(), advice: None }
    }

    /// In the way.
    pub fn refused(
        subject: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self { subject, verdict: Verdict::Refused, text: text.into(), advice }
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let mark = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Refused => "NO  ",
        };
        format!("{mark}  {}: {}", self.subject, self.reason())
    }

    /// What was found, and what to do about it, on one line.
    pub fn reason(&self) -> String {
        let Self { text, advice, .. } = self;
        match advice {
            Some(advice) => format!("{text} -> {advice}"),
            None => text.clone(),
        }
    }
}
