//! Sizes as people write and read them.

/// Bytes of `8GiB`, `512MB`, `8g`, or a plain number.
pub fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let unit: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1_048_576.0,
        "g" | "gib" => 1_073_741_824.0,
        "t" | "tib" => 1_099_511_627_776.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return None,
    };
    let bytes = number * unit;
    (1.0..9e18).contains(&bytes).then_some(bytes as usize)
}

/// As [`parse_size`], for what may also be nothing: `0`.
pub fn parse_size_or_zero(text: &str) -> Option<usize> {
    if number_and_unit(text)?.0 == 0.0 { Some(0) } else { parse_size(text) }
}

/// `1.5` and `GiB` of `1.5 GiB`; the unit may be empty.
pub fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    Some((number.parse().ok()?, unit.trim_start()))
}

/// `bytes` with three digits or more: `25.1 GiB`, `620 KiB`.
pub fn show_size(bytes: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        "bytes" if bytes == 0 => "0".into(),
        "bytes" => format!("{bytes} bytes"),
        _ if value < 10.0 => format!("{value:.2} {unit}"),
        _ => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects budgets: units in tens and in twos, and nothing that is no size; what is shown can be read again.
    #[test]
    fn sizes_are_read_and_shown() {
        let read = ["8GiB", "8g", "512MB", "1.5k", "100", "2 GiB"].map(|t| parse_size(t).unwrap());
        assert_eq!(read, [8 << 30, 8 << 30, 512_000_000, 1536, 100, 2 << 30]);
        for text in ["", "GiB", "8 parsecs", "-1", "0", "1e400", "1.2.3"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!([999, 1024, 620 << 10, 27 << 30].map(show_size), ["999 bytes", "1.00 KiB", "620.0 KiB", "27.0 GiB"]);
        assert_eq!(parse_size(&show_size(27 << 30)), Some(27 << 30));
    }
}
