//! When a profile runs by itself: 5-field cron in UTC, or a fixed interval, as a pure function of the time.

use chrono::{DateTime, Duration, DurationRound, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// When a profile runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// By hand only.
    Manual,
    /// A cron expression.
    Cron(Box<CronExpression>),
    /// Every so often, counted from the start of the last run.
    Every(Duration),
}

/// A cron expression that fires at least once.
#[derive(Clone, Debug, PartialEq)]
pub struct CronExpression {
    text: String,
    cron: Cron,
}

impl CronExpression {
    /// Reads minute, hour, day of month, month and day of week; when both day fields are restricted, either may match
    /// (POSIX crontab).
    ///
    /// # Errors
    /// Names the field or the reason, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_ascii_whitespace().count();
        if fields != 5 {
            return Err(format!(
                "`{}` has {fields} fields, but a schedule has 5: minute hour day-of-month month day-of-week; \
                 example: `0 2 * * *`",
                text.escape_debug()
            ));
        }
        if let Some(problem) = wrong_field(text) {
            return Err(problem);
        }
        let cron = parser()
            .parse(text)
            .map_err(|error| format!("`{text}` is not a schedule: {error}"))?;
        let expression = Self {
            text: text.to_owned(),
            cron,
        };
        match expression.next_after(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(expression),
            None => Err(format!("`{text}` never happens: there is no such day")),
        }
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first whole minute strictly after `time` that the expression names.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // croner keeps the part below a second, so that is cut off first.
        let time = time.duration_trunc(Duration::seconds(1)).ok()?;
        self.cron.find_next_occurrence(&time, false).ok()
    }
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .dom_and_dow(false)
        .build()
}

/// Finds the field at fault by trying each alone.
fn wrong_field(text: &str) -> Option<String> {
    const FIELDS: [(&str, &str); 5] = [
        ("minute", "0 to 59"),
        ("hour", "0 to 23"),
        ("day of month", "1 to 31"),
        ("month", "1 to 12"),
        ("day of week", "0 to 7"),
    ];
    text.split_ascii_whitespace()
        .zip(FIELDS)
        .enumerate()
        .find_map(|(at, (field, (name, range)))| {
            let mut alone = ["*"; 5];
            alone[at] = field;
            parser().parse(&alone.join(" ")).err()?;
            Some(format!(
                "the {name} field `{}` of `{}` is wrong: it takes {range}, as in `5`, `1,3`, `1-5` or `*/2`",
                field.escape_debug(),
                text.escape_debug()
            ))
        })
}

impl Schedule {
    /// When the profile runs, in words.
    pub fn in_words(&self) -> String {
        match self {
            Self::Manual => "By hand only".to_owned(),
            Self::Cron(expression) => {
                let words = expression.cron.describe();
                format!("{} UTC", words.trim_end_matches('.'))
            }
            Self::Every(interval) => {
                let seconds = interval.num_seconds();
                let units = [
                    (86_400, "day"),
                    (3_600, "hour"),
                    (60, "minute"),
                    (1, "second"),
                ];
                let whole = units.into_iter().find(|(length, _)| seconds % length == 0);
                let (length, unit) = whole.unwrap_or((1, "second"));
                match seconds / length {
                    1 => format!("Every {unit}, from the start of the last run"),
                    count => format!("Every {count} {unit}s, from the start of the last run"),
                }
            }
        }
    }

    /// When the profile is due next, after a run that started at `last`; `None` for by hand only.
    ///
    /// Missed times coalesce: however many passed since `last`, the answer is one time, and it may lie in the past. A
    /// profile with an interval that never ran is due at once; one with a cron expression waits for its time.
    pub fn next_run(
        &self,
        last: Option<DateTime<Utc>>,
        since: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        match self {
            Self::Manual => None,
            Self::Cron(expression) => expression.next_after(last.unwrap_or(since)),
            Self::Every(interval) => Some(last.map_or(since, |last| last + *interval)),
        }
    }
}

/// Reads an interval such as `30s`, `15m`, `4h` or `7d`.
///
/// # Errors
/// When the text is not a number with one of these units, or the interval is shorter than a second or longer than a
/// year.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let refused = || {
        format!(
            "`{}` is not an interval; write a number and s, m, h or d, for example 15m",
            text.escape_debug()
        )
    };
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(refused)?;
    let number: i64 = number.parse().map_err(|_| refused())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    match number.checked_mul(seconds) {
        Some(seconds) if (1..=366 * 86_400).contains(&seconds) => Ok(Duration::seconds(seconds)),
        _ => Err(format!("`{text}` must be between one second and one year")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn times(expression: &str, from: &str, count: usize) -> Vec<String> {
        let expression = CronExpression::parse(expression).unwrap();
        let mut time = at(from);
        (0..count)
            .map(|_| {
                time = expression.next_after(time).unwrap();
                time.format("%a %F %H:%M:%S").to_string()
            })
            .collect()
    }

    #[test]
    fn expressions_mean_what_a_cron_user_thinks() {
        assert_eq!(
            times("*/15 * * * *", "2026-11-21T09:00:00.9Z", 3),
            [
                "Sat 2026-11-21 09:15:00",
                "Sat 2026-11-21 09:30:00",
                "Sat 2026-11-21 09:45:00"
            ]
        );
        assert_eq!(
            times("0 2 * * 1", "2026-11-21T09:00:00Z", 2),
            ["Mon 2026-11-23 02:00:00", "Mon 2026-11-30 02:00:00"]
        );
        // Both day fields restricted: the thirteenth, and every Friday.
        assert_eq!(
            times("0 0 13 * 5", "2026-11-21T09:00:00Z", 5),
            [
                "Fri 2026-11-27 00:00:00",
                "Fri 2026-12-04 00:00:00",
                "Fri 2026-12-11 00:00:00",
                "Sun 2026-12-13 00:00:00",
                "Fri 2026-12-18 00:00:00"
            ]
        );
        assert_eq!(
            times("0 0 * * 7", "2026-11-21T09:00:00Z", 1),
            ["Sun 2026-11-22 00:00:00"]
        );
        assert_eq!(
            times("0 0 29 2 *", "2026-11-21T09:00:00Z", 1),
            ["Tue 2028-02-29 00:00:00"]
        );
    }

    #[test]
    fn schedules_are_told_in_words() {
        let cron = CronExpression::parse("0 2 * * 1-5").unwrap();
        let cron = Schedule::Cron(Box::new(cron)).in_words();
        assert!(
            cron.contains("02:00") && cron.contains("Friday") && cron.ends_with(" UTC"),
            "{cron}"
        );
        for (interval, words) in [
            ("15m", "Every 15 minutes"),
            ("1d", "Every day"),
            ("90s", "Every 90 seconds"),
            ("36h", "Every 36 hours"),
        ] {
            let told = Schedule::Every(parse_interval(interval).unwrap()).in_words();
            assert!(told.starts_with(words), "{interval}: {told}");
        }
    }

    #[test]
    fn a_wrong_expression_names_its_field() {
        for (text, word) in [
            ("0 24 * * *", "hour"),
            ("60 * * * *", "minute"),
            ("0 0 0 1 *", "day of month"),
            ("0 0 * 13 *", "month"),
            ("0 0 * * 8", "day of week"),
            ("0 0 30 2 *", "never happens"),
            ("0 0 0 30 2 *", "6 fields"),
            ("@daily", "1 fields"),
            ("", "0 fields"),
        ] {
            let error = CronExpression::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        // The ends of the ranges that the message names.
        for text in ["0 0 1 1 0", "59 23 31 12 7"] {
            assert!(CronExpression::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn missed_runs_coalesce_into_one() {
        let schedule = Schedule::Cron(Box::new(CronExpression::parse("0 * * * *").unwrap()));
        let last = at("2026-11-21T01:00:00Z");
        assert_eq!(
            schedule.next_run(Some(last), last),
            Some(at("2026-11-21T02:00:00Z"))
        );
        let started = at("2026-11-21T09:30:00Z");
        assert_eq!(
            schedule.next_run(Some(started), started),
            Some(at("2026-11-21T10:00:00Z"))
        );
        let every = Schedule::Every(parse_interval("15m").unwrap());
        assert_eq!(every.next_run(None, started), Some(started));
        assert_eq!(
            every.next_run(Some(last), started),
            Some(at("2026-11-21T01:15:00Z"))
        );
        assert_eq!(Schedule::Manual.next_run(Some(last), started), None);
    }

    #[test]
    fn intervals_are_read_or_refused() {
        assert_eq!(parse_interval("90s").unwrap(), Duration::seconds(90));
        assert_eq!(parse_interval("7d").unwrap(), Duration::days(7));
        for text in ["", "m", "0s", "-1h", "1.5h", "9999d", "5 m", "é"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
