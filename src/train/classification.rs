//! How well a classifier does: the figures that scikit-learn and GLUE report.

use serde::{Deserialize, Serialize};

/// Figures over a set of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Share of rows whose class was found.
    pub accuracy: f64,
    /// Mean of the classes' accuracies (classes without rows left out).
    pub balanced_accuracy: f64,
    /// Harmonic mean of precision and recall: of the second class where there are two, else the mean over classes.
    pub f1: f64,
    /// Mean of all classes' F1.
    pub macro_f1: f64,
    /// Matthews correlation coefficient, for any number of classes (Gorodkin 2004).
    pub matthews: f64,
    /// Rows of each class whose class was found, as a share; 0 for a class without rows.
    pub per_class: Vec<f64>,
    /// Rows by true class (outer) and predicted class (inner).
    pub confusion: Vec<Vec<usize>>,
}

impl Classification {
    /// Figures of `(true class, predicted class)` pairs over `classes` classes.
    pub fn new(pairs: &[(usize, usize)], classes: usize) -> Self {
        let mut confusion = vec![vec![0usize; classes]; classes];
        for &(actual, predicted) in pairs {
            confusion[actual][predicted] += 1;
        }
        let actual: Vec<usize> = confusion.iter().map(|row| row.iter().sum()).collect();
        let predicted: Vec<usize> = (0..classes).map(|class| confusion.iter().map(|row| row[class]).sum()).collect();
        let found: Vec<usize> = (0..classes).map(|class| confusion[class][class]).collect();
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let per_class: Vec<f64> = (0..classes).map(|class| share(found[class], actual[class])).collect();
        let f1: Vec<f64> =
            (0..classes).map(|class| share(2 * found[class], actual[class] + predicted[class])).collect();
        let there = actual.iter().filter(|&&rows| rows > 0).count().max(1);
        let macro_f1 = f1.iter().sum::<f64>() / classes.max(1) as f64;
        Self {
            accuracy: share(found.iter().sum(), pairs.len()),
            balanced_accuracy: per_class.iter().sum::<f64>() / there as f64,
            f1: if classes == 2 { f1[1] } else { macro_f1 },
            macro_f1,
            matthews: matthews(pairs.len(), &actual, &predicted, &found),
            per_class,
            confusion,
        }
    }
}

/// `(c s - sum(p t)) / sqrt((s^2 - sum(p^2)) (s^2 - sum(t^2)))` with `s` rows, `c` found, `t` true and `p` predicted rows of
/// each class; 0 where the root is 0.
fn matthews(rows: usize, actual: &[usize], predicted: &[usize], found: &[usize]) -> f64 {
    let s = rows as f64;
    let c = found.iter().sum::<usize>() as f64;
    let dot = |a: &[usize], b: &[usize]| a.iter().zip(b).map(|(a, b)| (a * b) as f64).sum::<f64>();
    let root = ((s * s - dot(predicted, predicted)) * (s * s - dot(actual, actual))).sqrt();
    if root == 0.0 { 0.0 } else { (c * s - dot(predicted, actual)) / root }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn figures_are_those_of_scikit_learn() {
        // y_true = [0, 0, 0, 1, 1, 1, 1, 0], y_pred = [0, 1, 0, 1, 1, 0, 1, 0]
        let pairs = [(0, 0), (0, 1), (0, 0), (1, 1), (1, 1), (1, 0), (1, 1), (0, 0)];
        let two = Classification::new(&pairs, 2);
        assert!(close(two.accuracy, 0.75) && close(two.f1, 0.75) && close(two.matthews, 0.5), "{two:?}");
        assert_eq!(two.confusion, [[3, 1], [1, 3]]);
        // y_true = [0, 1, 2, 2, 2, 1], y_pred = [0, 2, 2, 2, 1, 1]
        let three = Classification::new(&[(0, 0), (1, 2), (2, 2), (2, 2), (2, 1), (1, 1)], 3);
        assert!(close(three.accuracy, 4.0 / 6.0) && close(three.balanced_accuracy, (1.0 + 0.5 + 2.0 / 3.0) / 3.0));
        assert!(close(three.macro_f1, (1.0 + 0.5 + 2.0 / 3.0) / 3.0), "{three:?}");
        assert!(close(three.matthews, 10.0 / 22.0), "{three:?}");
    }

    #[test]
    fn a_constant_answer_has_no_correlation() {
        let constant = Classification::new(&[(0, 0), (1, 0), (0, 0)], 2);
        assert_eq!((constant.matthews, constant.f1, constant.balanced_accuracy), (0.0, 0.0, 0.5));
        assert_eq!(Classification::new(&[], 2).accuracy, 0.0);
    }
}
