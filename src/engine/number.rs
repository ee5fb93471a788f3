//! Numbers in JSON, exactly: finite ones as numbers that read back to the same bits, the others as the strings
//! `"NaN"`, `"Infinity"` and `"-Infinity"`, because JSON has no such numbers and a lost `NaN` is a lost diagnosis. And for
//! people: digits in groups.

use serde_json::Value;

/// `x` as JSON.
pub fn to_json(x: f64) -> Value {
    match serde_json::Number::from_f64(x) {
        Some(n) => Value::Number(n),
        None if x.is_nan() => Value::String("NaN".into()),
        None if x > 0.0 => Value::String("Infinity".into()),
        None => Value::String("-Infinity".into()),
    }
}

/// The number that `value` holds: any JSON number, or one of the three strings of [`to_json`].
pub fn from_json(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A number written in plain digits, in groups of three for people: `12345.5` as `12,345.5`.
pub fn grouped(text: &str) -> String {
    let (minus, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    if whole.len() < 4 {
        return text.into();
    }
    let groups: Vec<&str> = whole.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    format!("{minus}{}{rest}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Stream;

    /// Protects resuming bit for bit: every f64 written as text reads back to the same bits.
    #[test]
    fn floats_round_trip_exactly() {
        let random = Stream::new(5);
        let bits = (0..2000).map(|i| u64::from(random.bits(2 * i)) << 32 | u64::from(random.bits(2 * i + 1)));
        let odd = [0.1, -0.0, 5e-324, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, 1.0 / 3.0];
        for x in bits.map(f64::from_bits).chain(odd) {
            let text = serde_json::to_string(&to_json(x)).unwrap();
            let back = from_json(&serde_json::from_str(&text).unwrap()).unwrap();
            assert!(back.to_bits() == x.to_bits() || (x.is_nan() && back.is_nan()), "{x:e} became {back:e}");
        }
    }

    /// Protects large numbers wherever they are shown.
    #[test]
    fn digits_stand_in_groups() {
        let shown = ["7", "-123", "1234", "-1234567.25", "0.12345"].map(grouped);
        assert_eq!(shown, ["7", "-123", "1,234", "-1,234,567.25", "0.12345"]);
    }
}
