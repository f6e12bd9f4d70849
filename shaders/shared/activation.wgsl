// Activation functions f(x) with their slopes f'(x). Composed twin: kernel::Activation::composed.

const GELU_TANH: u32 = 1u;
const GELU: u32 = 2u;  // any other kind is SiLU

struct Activated {
    value: f32,
    slope: f32,
}

// The error function within 2e-7, given gauss = e^-x^2. The form beyond 1 is that of Hastings (Abramowitz and Stegun
// 1964, 7.1.26); kernel/vector.rs has the same.
fn erf(x: f32, gauss: f32) -> f32 {
    let square = x * x;
    var near = -5.659988e-4;
    near = near * square + 4.924748e-3;
    near = near * square - 2.671767e-2;
    near = near * square + 1.128041e-1;
    near = near * square - 3.7612356e-1;
    near = near * square + 1.2837913e-1;
    let t = 1.0 / (1.0 + 0.4 * abs(x));
    let tail = ((6.220927e-1 * t - 2.1977491e-1) * t + 3.979204e-1) * t + 1.998079e-1;
    return select(near * x + x, sign(x) * (1.0 - tail * t * gauss), abs(x) > 1.0);
}

fn activated(x: f32, kind: u32) -> Activated {
    if kind == GELU {
        let gauss = exp(-0.5 * x * x);
        let below = 0.5 + 0.5 * erf(x * 0.70710678, gauss);
        return Activated(x * below, below + x * gauss * 0.39894228);
    }
    // x * sigmoid(z); z = x for SiLU, and 0.5 * (1 + tanh(u)) = sigmoid(2u).
    var z = x;
    var dz = 1.0;
    if kind == GELU_TANH {
        z = x * (1.5957691 + 7.135481e-2 * x * x);
        dz = 1.5957691 + 2.1406444e-1 * x * x;
    }
    // Bounded, since a shader may assume that nothing is infinite.
    let s = 1.0 / (1.0 + exp(min(-z, 87.0)));
    let value = x * s;
    return Activated(value, s + value * (1.0 - s) * dz);
}
