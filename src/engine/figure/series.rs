//! Points of a line: smoothed, thinned to what a figure can show, cut at gaps.

/// (x, y); a y that is not finite is a gap.
pub type Point = (f64, f64);

/// Weight of a new value in [`smooth`] that suits `n` values: a window of a twentieth of them, at least 2, at most 50.
pub fn smoothing_alpha(n: usize) -> f64 {
    let window = (n as f64 / 20.0).clamp(2.0, 50.0);
    // Two digits, since a figure's legend says it.
    (100.0 / window).round() / 100.0
}

/// Exponential moving average with bias correction: m_t = (1 - a) m_{t-1} + a x_t from m_0 = 0, shown as
/// m_t / (1 - (1 - a)^t), so that the first values are not pulled to 0 (Kingma & Ba, "Adam", 2015, section 3).
///
/// Gaps stay gaps and do not count.
pub fn smooth(points: &[Point], alpha: f64) -> Vec<Point> {
    let (mut mean, mut left) = (0.0, 1.0);
    let next = |&(x, y): &Point| {
        if !y.is_finite() {
            return (x, f64::NAN);
        }
        mean = (1.0 - alpha) * mean + alpha * y;
        left *= 1.0 - alpha;
        (x, mean / (1.0 - left))
    };
    points.iter().map(next).collect()
}

/// `points`, sorted by x, thinned to the smallest and largest value in each of `columns` equal stretches, in order:
/// a line through them covers the same pixels as one through all of them. Few points are returned as they are.
pub fn thin(points: &[Point], columns: usize) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return vec![] };
    let (width, columns) = (last.0 - first.0, columns.max(1));
    if points.len() <= 4 * columns || !(width.is_finite() && width > 0.0) {
        return points.to_vec();
    }
    let column = |p: &Point| (((p.0 - first.0) / width * columns as f64) as usize).min(columns - 1);
    let mut kept = Vec::with_capacity(2 * columns);
    for bucket in points.chunk_by(|a, b| column(a) == column(b)) {
        let finite = || bucket.iter().enumerate().filter(|(_, p)| p.1.is_finite());
        let low = finite().min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let high = finite().max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let (Some((i, low)), Some((j, high))) = (low, high) else {
            kept.extend(bucket.first()); // nothing but a gap
            continue;
        };
        match i.cmp(&j) {
            std::cmp::Ordering::Less => kept.extend([*low, *high]),
            std::cmp::Ordering::Equal => kept.push(*low),
            std::cmp::Ordering::Greater => kept.extend([*high, *low]),
        }
    }
    kept
}

/// The unbroken stretches of `points`: gaps cut them.
pub fn stretches(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|p| !p.1.is_finite()).filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the smoothed line: unbiased from the first value, exact on constants, worked example, gaps kept.
    #[test]
    fn smoothing_is_bias_corrected() {
        let s = smooth(&[(1.0, 4.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 2.0)], 0.5);
        assert_eq!((s[0].1, s[2].1.is_nan()), (4.0, true));
        assert!((s[1].1 - (0.25 * 4.0 + 0.5 * 2.0) / 0.75).abs() < 1e-15);
        assert!((s[3].1 - (0.125 * 4.0 + 0.25 * 2.0 + 0.5 * 2.0) / 0.875).abs() < 1e-15);
        let constant: Vec<Point> = (0..500).map(|i| (f64::from(i), 7.0)).collect();
        assert!(smooth(&constant, 0.02).iter().all(|p| (p.1 - 7.0).abs() < 1e-12));
        assert_eq!((smoothing_alpha(0), smoothing_alpha(200), smoothing_alpha(100_000)), (0.5, 0.1, 0.02));
    }

    /// Protects long runs: extremes survive thinning, order stays, gaps neither spread nor vanish.
    #[test]
    fn thinning_keeps_extremes() {
        let mut points: Vec<Point> = (0..100_000).map(|i| (f64::from(i), (f64::from(i) * 0.37).sin())).collect();
        points[54_321].1 = 50.0;
        points[54_322].1 = -50.0;
        points[77] = (77.0, f64::NAN);
        points[90_000..95_000].iter_mut().for_each(|p| p.1 = f64::NAN);
        let thinned = thin(&points, 900);
        assert!(thinned.len() <= 1800 && thinned.len() > 1700, "{}", thinned.len());
        assert!(thinned.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(thinned.contains(&(54_321.0, 50.0)) && thinned.contains(&(54_322.0, -50.0)));
        assert_eq!(stretches(&thinned).count(), 2);
        assert_eq!(thin(&points[..3], 900), points[..3]);
        assert!(thin(&[], 900).is_empty());
        assert_eq!(thin(&[(1.0, 2.0); 9], 1).len(), 9); // no width: nothing to divide by
    }
}
