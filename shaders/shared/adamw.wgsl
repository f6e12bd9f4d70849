// One AdamW update of one number (Loshchilov and Hutter 2019, algorithm 2, with PyTorch's placing of epsilon).

struct AdamW {
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    correction1: f32,  // 1 - beta1^step
    correction2: f32,  // 1 - beta2^step
    max_norm: f32,     // 0 switches clipping off
}

struct Updated {
    value: f32,
    first: f32,
    second: f32,
}

// Factor that brings the global gradient norm down to max_norm (PyTorch's clip_grad_norm_).
fn clip_factor(squared_norm: f32, max_norm: f32) -> f32 {
    return select(1.0, min(1.0, max_norm / (sqrt(squared_norm) + 1e-6)), max_norm > 0.0);
}

fn adamw(value: f32, first: f32, second: f32, grad: f32, h: AdamW) -> Updated {
    let m = h.beta1 * first + (1.0 - h.beta1) * grad;
    let v = h.beta2 * second + (1.0 - h.beta2) * grad * grad;
    let decayed = value * (1.0 - h.learning_rate * h.weight_decay);
    let denominator = sqrt(v) / sqrt(h.correction2) + h.epsilon;
    return Updated(decayed - h.learning_rate / h.correction1 * m / denominator, m, v);
}
