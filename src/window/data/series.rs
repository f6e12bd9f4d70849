//! A series of values that can be drawn at any zoom in time proportional to the pixels, not to the values: a min-max
//! pyramid, the smallest and largest of every 2, 4, 8, ... neighbours, updated as values are added.

/// Smallest and largest value of neighbours; both NaN where none is finite.
type Extent = (f64, f64);

/// A growing series.
#[derive(Clone, Debug, Default)]
pub struct Series {
    values: Vec<f64>,
    /// `levels[k][b]` spans the `2^(k+1)` values from `b * 2^(k+1)` on.
    levels: Vec<Vec<Extent>>,
}

impl Series {
    /// The values in the order in which they were added.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Appends a value; one that is not finite is kept, but does not widen any extent.
    pub fn push(&mut self, value: f64) {
        let at = self.values.len();
        self.values.push(value);
        let extent = if value.is_finite() { (value, value) } else { (f64::NAN, f64::NAN) };
        for (level, extents) in self.levels.iter_mut().enumerate() {
            let bucket = at >> (level + 1);
            match extents.get_mut(bucket) {
                // `min` and `max` ignore NaN.
                Some(known) => *known = (known.0.min(extent.0), known.1.max(extent.1)),
                None => extents.push(extent),
            }
        }
        // A new level as soon as it has two buckets to tell apart.
        while self.values.len() > 1 << (self.levels.len() + 1) {
            let level = self.levels.len();
            let below = |b: usize| match level {
                0 => {
                    let value = self.values[b];
                    if value.is_finite() { (value, value) } else { (f64::NAN, f64::NAN) }
                }
                _ => self.levels[level - 1][b],
            };
            let count = if level == 0 { self.values.len() } else { self.levels[level - 1].len() };
            let merged = (0..count.div_ceil(2))
                .map(|b| {
                    let (first, second) = (below(2 * b), (2 * b + 1 < count).then(|| below(2 * b + 1)));
                    second.map_or(first, |second| (first.0.min(second.0), first.1.max(second.1)))
                })
                .collect();
            self.levels.push(merged);
        }
    }

    /// Drops all but the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        let kept = std::mem::take(self).values;
        kept.into_iter().take(len).for_each(|value| self.push(value));
    }

    /// The values `from..to` as a line over the positions `x`, at most about two points a pixel: all of them where they are
    /// few, smallest and largest of equal ranges where they are many. A value that is not finite, or for which `map` is
    /// `None`, is left out.
    pub fn line(
        &self,
        x: &[f64],
        from: usize,
        to: usize,
        pixels: usize,
        map: impl Fn(f64) -> Option<f64>,
    ) -> Vec<[f64; 2]> {
        let to = to.min(self.values.len()).min(x.len());
        let count = to.saturating_sub(from);
        let pixels = pixels.max(2);
        let mut points = Vec::with_capacity(2 * pixels);
        let mut add = |at: usize, value: f64| {
            if value.is_finite()
                && let Some(y) = map(value)
            {
                points.push([x[at], y]);
            }
        };
        if count <= 2 * pixels {
            (from..to).for_each(|at| add(at, self.values[at]));
            return points;
        }
        // The finest level with at most one extent a pixel.
        let level = (0..self.levels.len()).find(|k| count >> (k + 1) <= pixels).unwrap_or(self.levels.len() - 1);
        let extents = &self.levels[level];
        let size = 1 << (level + 1);
        for (bucket, &(low, high)) in extents.iter().enumerate().take((to - 1) / size + 1).skip(from / size) {
            let first = (bucket * size).max(from);
            let last = (bucket * size + size - 1).min(to - 1);
            add(first, low);
            if high != low {
                add(last, high);
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(values: impl IntoIterator<Item = f64>) -> Series {
        let mut series = Series::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }

    #[test]
    fn every_extent_is_that_of_its_values() {
        let value = |i: usize| if i % 37 == 5 { f64::NAN } else { ((i * 7919) % 1009) as f64 };
        for len in [1, 2, 3, 4, 5, 63, 64, 65, 1000] {
            let series = filled((0..len).map(value));
            for (level, extents) in series.levels.iter().enumerate() {
                let size = 1 << (level + 1);
                assert_eq!(extents.len(), len.div_ceil(size), "{len} values, level {level}");
                for (bucket, extent) in extents.iter().enumerate() {
                    let range_of_values = &series.values[bucket * size..(bucket * size + size).min(len)];
                    let low = range_of_values.iter().copied().fold(f64::NAN, f64::min);
                    let high = range_of_values.iter().copied().fold(f64::NAN, f64::max);
                    assert!(extent.0 == low && extent.1 == high || (extent.0.is_nan() && low.is_nan()));
                }
            }
        }
    }

    #[test]
    fn a_line_has_at_most_about_two_points_a_pixel_and_keeps_every_extreme() {
        let series = filled((0..100_000).map(|i| if i == 54_321 { 99.0 } else { f64::from(i % 10) }));
        let x: Vec<f64> = (0..100_000).map(f64::from).collect();
        for (from, to, pixels) in
            [(0, 100_000, 700), (50_000, 60_000, 333), (54_000, 54_999, 64), (54_320, 54_330, 500)]
        {
            let line = series.line(&x, from, to, pixels, Some);
            assert!(line.len() <= 2 * pixels + 4, "{} points on {pixels} pixels", line.len());
            assert!(line.iter().any(|point| point[1] == 99.0), "the outlier is there");
            assert!(line.windows(2).all(|pair| pair[0][0] <= pair[1][0]), "from left to right");
        }
        assert!(series.line(&x, 7, 7, 100, Some).is_empty());
        assert!(Series::default().line(&[], 0, 0, 100, Some).is_empty());
    }
}
