//! Products with frozen matrices by WGSL shaders.

use burn::backend::{
    ops::FloatTensorOps,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Device, Shape as Dims};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::{
    Layout, MatrixOps,
    choice::{Shape, Variant},
    shaders,
};
use crate::kernel::{launch, pad::padded};

/// Tokens and outer numbers of a workgroup.
fn tile(variant: Variant) -> (usize, usize) {
    match variant {
        Variant::Block | Variant::Burn => (32, 128),
        Variant::Tiled => (64, 64),
        Variant::Wide | Variant::Cooperative => (128, 128),
        Variant::Rows => (1, 32),
    }
}

/// Lanes of a workgroup.
fn lanes(variant: Variant) -> u32 {
    match variant {
        Variant::Block => 32,
        Variant::Wide | Variant::Cooperative => 256,
        _ => 64,
    }
}

/// What was chosen for the device of `x`.
fn chosen(shape: Shape, x: &CubeTensor) -> Variant {
    shape.choose(&Device::from(x.device.clone()))
}

/// Launches one of the shaders; `w` is the matrix in f32 or its words, `bias` is `[1 or tokens, outer]`.
fn run(
    x: CubeTensor,
    w: &CubeTensor,
    bias: Option<CubeTensor>,
    shape: Shape,
    scales_at: usize,
    variant: Variant,
) -> CubeTensor {
    let x = launch::contiguous(x);
    let x = if variant == Variant::Cooperative { split(&x) } else { padded(x) };
    let bias = bias.map(launch::contiguous);
    let y = launch::empty(&x, Dims::new([shape.tokens, shape.outer]));
    let (down, across) = tile(variant);
    let pitch = bias.as_ref().map_or(0, |bias| if bias.meta.shape()[0] == 1 { 0 } else { shape.outer });
    let buffers = [&x.handle, &w.handle, &y.handle].into_iter().chain(bias.iter().map(|bias| &bias.handle));
    launch::launch(
        &x,
        shaders::product(variant, shape.packing, shape.along, shape.ragged(), bias.is_some()),
        lanes(variant),
        launch::grid(shape.outer.div_ceil(across), shape.tokens.div_ceil(down)),
        &buffers.collect::<Vec<_>>(),
        &launch::words(&[shape.tokens, shape.inner, shape.outer, scales_at, pitch]),
    );
    y
}

/// The product with a matrix in f32, and what is added to it.
fn dense(x: CubeTensor, w: CubeTensor, bias: Option<CubeTensor>, along: bool, by: Option<Variant>) -> CubeTensor {
    let ([tokens, inner], [rows, width]) = (x.meta.shape().dims(), w.meta.shape().dims());
    let shape = Shape { packing: None, along, tokens, inner, outer: if along { rows } else { width } };
    let variant = by.unwrap_or_else(|| chosen(shape, &x));
    if variant == Variant::Burn || !shape.allows(variant, &Device::from(x.device.clone())) {
        let y = CubeBackend::float_matmul(x, if along { CubeBackend::float_transpose(w) } else { w });
        return match bias {
            Some(bias) => CubeBackend::float_add(y, bias),
            None => y,
        };
    }
    run(x, &launch::contiguous(w), bias, shape, 0, variant)
}

/// The same with a packed matrix.
fn packed(
    x: CubeTensor,
    words: &CubeTensor,
    bias: Option<CubeTensor>,
    layout: Layout,
    along: bool,
    by: Option<Variant>,
) -> CubeTensor {
    let [tokens, inner] = x.meta.shape().dims();
    let Layout { packing, rows, cols } = layout;
    let outer = if along { rows } else { cols };
    let shape = Shape { packing: Some(packing), along, tokens, inner, outer };
    let device = Device::from(x.device.clone());
    let variant = by.filter(|variant| shape.allows(*variant, &device)).unwrap_or_else(|| chosen(shape, &x));
    run(x, words, bias, shape, packing.number_words(rows * cols), variant)
}

/// Rows as two rows in f16 with an exponent behind each, as the shader of cooperative matrices wants them.
fn split(x: &CubeTensor) -> CubeTensor {
    let [tokens, inner] = x.meta.shape().dims();
    let pairs = launch::empty(x, Dims::new([tokens, inner.next_multiple_of(4) + 2]));
    let dims = launch::words(&[tokens, inner]);
    launch::launch(x, shaders::SPLIT, 128, launch::groups_for(tokens, 1), &[&x.handle, &pairs.handle], &dims);
    pairs
}

impl MatrixOps for CubeBackend {
    fn dense_product_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        dense(x, w, None, along, variant)
    }

    fn dense_product_plus_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        dense(x, w, Some(bias), along, variant)
    }

    fn packed_product_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        packed(x, &words, None, layout, along, variant)
    }

    fn packed_product_plus_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        bias: FloatTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        packed(x, &words, Some(bias), layout, along, variant)
    }

    fn packed_rows_op(ids: IntTensor<Self>, words: IntTensor<Self>, layout: Layout) -> FloatTensor<Self> {
        let ids = launch::contiguous(ids);
        let [count] = ids.meta.shape().dims();
        let Layout { packing, rows, cols } = layout;
        let out = launch::empty(&ids, Dims::new([count, cols]));
        launch::launch(
            &ids,
            shaders::unpack(packing),
            64,
            launch::groups_for(count * cols.div_ceil(4), 64),
            &[&ids.handle, &words.handle, &out.handle],
            &launch::words(&[count, cols, rows, packing.number_words(rows * cols)]),
        );
        out
    }
}
