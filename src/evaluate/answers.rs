//! Grades of answers that cite pages: whether they are right, cite the right pages, or rightly refuse.

use std::collections::BTreeSet;

use serde::Serialize;

use super::answer_words::{is_right, token_f1, without_citations};
use super::vqa::vqa_accuracy;
use super::{Interval, Question};
use crate::measure::Percentiles;
use crate::page::PageId;

/// An answer of a model.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its text, with `[n]` for citations.
    pub text: &'a str,
    /// Whether it says that the pages do not answer, or cites none.
    pub is_refusal: bool,
    /// The pages that it cites.
    pub cited: &'a [PageId],
    /// Its numbers and codes that the cited pages do not have.
    pub unconfirmed: usize,
    /// Seconds to the first token.
    pub first_s: Option<f64>,
    /// Its tokens.
    pub tokens: Option<u32>,
}

/// The grade of an answer. Of a refusal nothing is right, even if its text has the answer: it is not shown as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AnswerGrade {
    /// Whether no page answers the question.
    pub is_absent: bool,
    /// Whether the model gave no answer at all.
    pub failed: bool,
    /// Whether the answer is a refusal.
    pub refused: bool,
    /// Whether it contains all strings of a right answer.
    pub right: bool,
    /// Whether it is right and cites a page that answers.
    pub right_and_cited: bool,
    /// VQA accuracy.
    pub vqa: f64,
    /// F1 of its words and those of the right answer.
    pub f1: f64,
    /// The share of the cited pages that answer; `None` if none is cited.
    pub precision: Option<f64>,
    /// The share of the pages that answer that are cited.
    pub recall: f64,
    /// Its numbers and codes that the cited pages do not have; those of a refusal are not counted.
    pub unconfirmed: usize,
    /// Seconds to the first token.
    pub first_s: Option<f64>,
    /// Its tokens.
    pub tokens: Option<u32>,
}

impl AnswerGrade {
    /// Grades the answer to a question; `None` if the model gave none.
    pub fn of(question: &Question, reply: Option<&Reply<'_>>) -> Self {
        let is_absent = question.is_absent();
        let Some(reply) = reply else {
            return Self {
                is_absent,
                failed: true,
                ..Self::default()
            };
        };
        let grade = Self {
            is_absent,
            refused: reply.is_refusal,
            first_s: reply.first_s,
            tokens: reply.tokens,
            ..Self::default()
        };
        if reply.is_refusal {
            return grade;
        }
        let unconfirmed = reply.unconfirmed;
        if is_absent {
            return Self {
                unconfirmed,
                ..grade
            };
        }
        let relevant: BTreeSet<PageId> = question.page_ids().collect();
        let cited: BTreeSet<&PageId> = reply.cited.iter().collect();
        let hits = cited.iter().filter(|page| relevant.contains(page)).count() as f64;
        let right = is_right(reply.text, &question.answers);
        let text = without_citations(reply.text);
        Self {
            right,
            right_and_cited: right && hits > 0.0,
            vqa: vqa_accuracy(text.trim(), &question.answers),
            f1: token_f1(&text, &question.answers.join(" ")),
            precision: (!cited.is_empty()).then(|| hits / cited.len() as f64),
            recall: hits / relevant.len().max(1) as f64,
            unconfirmed,
            ..grade
        }
    }
}

/// Measures over the answers to all questions. Shares of questions that pages answer are `None` if there are none, as is that
/// of absent ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AnswerScores {
    /// Number of questions that pages answer.
    pub questions: usize,
    /// Number of questions that no page answers.
    pub absent: usize,
    /// Questions without any answer of the model; they are neither right nor refused.
    pub failed: usize,
    /// Share answered rightly, with a citation of a page that answers.
    pub right_and_cited: Option<Interval>,
    /// Share answered rightly.
    pub right: Option<Interval>,
    /// Mean VQA accuracy.
    pub vqa: Option<Interval>,
    /// Mean F1 of words.
    pub f1: Option<Interval>,
    /// Mean share of cited pages that answer, over the answers with citations to questions that pages answer.
    pub citation_precision: Option<Interval>,
    /// Mean share of the pages that answer that are cited.
    pub citation_recall: Option<Interval>,
    /// Share of absent questions that are refused.
    pub refused: Option<Interval>,
    /// Share of the other questions that are refused.
    pub falsely_refused: Option<Interval>,
    /// Numbers and codes that the cited pages do not have, per 100 answers that are no refusals.
    pub unconfirmed_per_100: Option<f64>,
    /// Seconds to the first token.
    pub first_s: Option<Percentiles>,
    /// Mean tokens of an answer.
    pub tokens: Option<f64>,
}

impl AnswerScores {
    /// Computes the measures of graded answers.
    pub fn of(grades: &[AnswerGrade]) -> Self {
        let (absent, present): (Vec<&AnswerGrade>, Vec<&AnswerGrade>) =
            grades.iter().partition(|grade| grade.is_absent);
        let share = |of: &[&AnswerGrade], is: fn(&AnswerGrade) -> bool| {
            interval(of.iter().map(|grade| f64::from(u8::from(is(grade)))))
        };
        let shown = grades.iter().filter(|g| !g.refused && !g.failed);
        let shown: Vec<usize> = shown.map(|grade| grade.unconfirmed).collect();
        let mean_of_shown = 100.0 * shown.iter().sum::<usize>() as f64 / shown.len() as f64;
        let times: Vec<f64> = grades.iter().filter_map(|grade| grade.first_s).collect();
        let tokens: Vec<u32> = grades.iter().filter_map(|grade| grade.tokens).collect();
        let mean_tokens = tokens.iter().map(|n| f64::from(*n)).sum::<f64>() / tokens.len() as f64;
        Self {
            questions: present.len(),
            absent: absent.len(),
            failed: grades.iter().filter(|grade| grade.failed).count(),
            right_and_cited: share(&present, |grade| grade.right_and_cited),
            right: share(&present, |grade| grade.right),
            vqa: interval(present.iter().map(|grade| grade.vqa)),
            f1: interval(present.iter().map(|grade| grade.f1)),
            citation_precision: interval(present.iter().filter_map(|grade| grade.precision)),
            citation_recall: interval(present.iter().map(|grade| grade.recall)),
            refused: share(&absent, |grade| grade.refused),
            falsely_refused: share(&present, |grade| grade.refused),
            unconfirmed_per_100: (!shown.is_empty()).then_some(mean_of_shown),
            first_s: (!times.is_empty()).then(|| Percentiles::of(times)),
            tokens: (!tokens.is_empty()).then_some(mean_tokens),
        }
    }
}

fn interval(values: impl Iterator<Item = f64>) -> Option<Interval> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| Interval::of(&values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ManualId;

    const MANUAL: &str = "pump.pdf";

    fn page(number: u32) -> PageId {
        PageId::new(&ManualId::new(MANUAL), number)
    }

    fn question(pages: &[u32], answers: &[&str]) -> Question {
        let kind = if pages.is_empty() {
            "absent"
        } else {
            "lexical"
        };
        let json = serde_json::json!({
            "question": "?", "manual": MANUAL, "pages": pages, "answers": answers, "kind": kind,
        });
        serde_json::from_value(json).unwrap()
    }

    fn reply<'a>(text: &'a str, cited: &'a [PageId]) -> Reply<'a> {
        Reply {
            text,
            is_refusal: cited.is_empty(),
            cited,
            unconfirmed: 0,
            first_s: None,
            tokens: None,
        }
    }

    #[test]
    fn grades_equal_those_computed_by_hand() {
        let asked = question(&[2, 3], &["18 Nm"]);
        let cited = [page(2), page(7), page(2)];
        let grade = AnswerGrade::of(
            &asked,
            Some(&Reply {
                unconfirmed: 1,
                tokens: Some(9),
                ..reply("Tighten to 18 Nm [1]. Wait 42 s [2].", &cited)
            }),
        );
        assert!(grade.right && grade.right_and_cited && !grade.refused && !grade.failed);
        // One of two cited pages answers, one of two answering pages is cited; 2 words of 7, and of 2.
        assert_eq!((grade.precision, grade.recall), (Some(0.5), 0.5));
        assert!((grade.f1 - 2.0 * 2.0 / (7.0 + 2.0)).abs() < 1e-12);
        assert_eq!((grade.vqa, grade.unconfirmed), (0.0, 1));
        let short = AnswerGrade::of(&asked, Some(&reply("18 Nm [1]", &cited[1..2])));
        assert_eq!((short.vqa, short.f1), (1.0, 1.0));
        assert!(short.right && !short.right_and_cited);
        assert_eq!((short.precision, short.recall), (Some(0.0), 0.0));
        let refusal = AnswerGrade::of(&asked, Some(&reply("18 Nm", &[])));
        assert!(refusal.refused && !refusal.right);
        assert_eq!((refusal.precision, refusal.f1), (None, 0.0));
        let absent = AnswerGrade::of(&question(&[], &[]), Some(&reply("18 Nm [1]", &cited)));
        assert!(absent.is_absent && !absent.refused && !absent.right);
        assert_eq!(absent.precision, None);
    }

    #[test]
    fn scores_equal_those_computed_by_hand() {
        let right = AnswerGrade {
            right: true,
            right_and_cited: true,
            vqa: 1.0,
            f1: 0.5,
            precision: Some(0.5),
            recall: 1.0,
            unconfirmed: 3,
            first_s: Some(2.0),
            tokens: Some(10),
            ..AnswerGrade::default()
        };
        let refused = AnswerGrade {
            refused: true,
            first_s: Some(1.0),
            tokens: Some(30),
            ..AnswerGrade::default()
        };
        let failed = AnswerGrade {
            failed: true,
            ..AnswerGrade::default()
        };
        let absent = |refused| AnswerGrade {
            is_absent: true,
            refused,
            ..AnswerGrade::default()
        };
        let wrong = AnswerGrade {
            precision: Some(0.0),
            ..AnswerGrade::default()
        };
        let scores =
            AnswerScores::of(&[right, refused, failed, wrong, absent(true), absent(false)]);
        let mean = |interval: Option<Interval>| interval.unwrap().mean;
        assert_eq!((scores.questions, scores.absent, scores.failed), (4, 2, 1));
        assert_eq!(
            (mean(scores.right), mean(scores.right_and_cited)),
            (0.25, 0.25)
        );
        assert_eq!((mean(scores.vqa), mean(scores.f1)), (0.25, 0.125));
        assert_eq!(
            (
                mean(scores.citation_precision),
                mean(scores.citation_recall)
            ),
            (0.25, 0.25)
        );
        assert_eq!(
            (mean(scores.refused), mean(scores.falsely_refused)),
            (0.5, 0.25)
        );
        // Three in the three answers that are shown: the right one, the wrong one and that to an absent question.
        assert_eq!(scores.unconfirmed_per_100, Some(100.0));
        assert_eq!(
            (scores.first_s.unwrap().p50, scores.tokens),
            (1.0, Some(20.0))
        );
        let none = AnswerScores::of(&[absent(true)]);
        assert_eq!(
            (none.right, none.unconfirmed_per_100, none.tokens),
            (None, None, None)
        );
    }
}
