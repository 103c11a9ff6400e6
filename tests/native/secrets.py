"""Which arguments of each kernel are secret. `cpp/*_cases.cpp` mark these when they call its loops;
that they mark the same is part of the check.
"""

from __future__ import annotations

SECRETS: dict[str, str] = {
    # symmetric: the keys of hashes, shifts, messages, corrections and counters are public
    "aes_ctr": "key",
    "ggm_expand": "seeds",
    "vole_receiver": "keys",
    "vole_sender": "keys,delta",
    "lookup_send": "w,delta,table",
    "lookup_recv": "v,choices",
    "arith_send": "w,delta,table",
    "arith_recv": "v,choices",
    "pads_send": "w,delta",
    "pads_recv": "v",
    "leaves_send": "w,delta,digits",
    "leaves_recv": "v,choices",
    "join_send": "w,delta,own",
    "mux_send": "w,delta,x,gate",
    "mux_send_adding": "w,delta,x,theirs,gate,flip",
    "widen_send": "w,delta,own,theirs",
    "widen_recv": "v,choices,x,flip",
    "column_hash": "rows",
    "polynomial_hash": "rows,elements",
    "cut_digits": "x,added",
    "gather_bits": "parts",
    "pack": "values,values",  # as words, and as bytes
    "unpack": "data",
    "unpack8": "data",
    "product_sent": "pads,y",
    "product_received": "pads,u",
    "masked_send": "x,y,bit,share,mask",  # e is sent in the run, as are messages
    "masked_receive": "x,bit,share",
    # silent: the trees' keys and the code are public, so are the elements that multiply a secret
    "hash_blocks": "blocks",
    "add_multiples": "target,delta",
    "tree_sums": "seeds,offset,roots",
    "expand_full": "seeds,offset,roots",
    "expand_punctured": "seeds,holes,sums",
    "encode_elements": "seeds,holes,values",
    # rlwe: primes, tables and sizes are public
    "ntt_forward": "x",
    "ntt_inverse": "x",
    "multiply_mod": "x,y",
    "add_products": "sums,factors,rows",
    "add_convolution": "x,weight,added,sums",
    "add_mod": "x,y",
    "lift_small": "values",
    "lift_centred": "x",
    "encode_residues": "x,dither",
    "torus_round": "x",
    "shifted_rows": "x",
    "reduce_products": "x",
    "crt_signed": "x",
    "sample_ternary": "words",
    "sample_binomial": "words",
    "uniform_residues": "-",  # rejection of public words shows, and may
}
