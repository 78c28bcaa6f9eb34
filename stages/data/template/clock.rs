//! The date in words: what Python's `strftime` writes in the C locale, for a moment in UTC.

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01 (Hinnant, "chrono-compatible low-level
/// date algorithms").
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as usize, day)
}

/// The moment `seconds` after 1970 by a format.
///
/// # Errors
/// A directive that is not known.
pub(super) fn strftime(seconds: i64, format: &str) -> Result<String, String> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before: i64 = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30][..month - 1].iter().sum();
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let next = rest.next();
        let (bare, directive) = if next == Some('-') { (true, rest.next()) } else { (false, next) };
        let padded = |value: i64| if bare { value.to_string() } else { format!("{value:02}") };
        out += &match directive {
            Some('Y') => year.to_string(),
            Some('y') => padded(year.rem_euclid(100)),
            Some('m') => padded(month as i64),
            Some('d') => padded(day),
            Some('e') => format!("{day:2}"),
            Some('H') => padded(hour),
            Some('I') => padded(twelve),
            Some('M') => padded(minute),
            Some('S') => padded(second % 60),
            Some('j') => format!("{:03}", before + day),
            Some('p') => (if hour < 12 { "AM" } else { "PM" }).into(),
            Some('B') => MONTHS[month - 1].into(),
            Some('b' | 'h') => MONTHS[month - 1][..3].into(),
            Some('A') => weekday.into(),
            Some('a') => weekday[..3].into(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{:02}", second % 60),
            Some('%') => "%".into(),
            other => {
                return Err(format!("strftime_now does not know %{}", other.map(String::from).unwrap_or_default()));
            }
        };
    }
    Ok(out)
}
