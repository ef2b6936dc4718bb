;; What is done to every byte of a packet, in the memory that packets are kept in: the Internet checksum's sum
;; (RFC 1071), a copy, and both in one pass. `node scripts/build-kernel.mjs` makes kernel-module.ts of it.
;;
;; Sums are of little-endian 16-bit words, in four 32-bit lanes: of 65536 bytes each lane takes 16384 words at most, so
;; none can overflow. The callers see to it that a range lies within the memory.
(module
  (import "packet" "memory" (memory 0))

  ;; Folds four 32-bit lanes of sums of little-endian words, and up to 15 more bytes, to 16 bits in network byte order.
  (func $finish (param $at i32) (param $end i32) (param $lanes v128) (result i32)
    (local $sum i64)
    (local.set $sum
      (i64.add
        (i64.add
          (i64.extend_i32_u (i32x4.extract_lane 0 (local.get $lanes)))
          (i64.extend_i32_u (i32x4.extract_lane 1 (local.get $lanes))))
        (i64.add
          (i64.extend_i32_u (i32x4.extract_lane 2 (local.get $lanes)))
          (i64.extend_i32_u (i32x4.extract_lane 3 (local.get $lanes))))))
    (if (i32.ge_u (i32.sub (local.get $end) (local.get $at)) (i32.const 8))
      (then
        (local.set $sum (i64.add (local.get $sum) (i64.load32_u (local.get $at))))
        (local.set $sum (i64.add (local.get $sum) (i64.load32_u offset=4 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))))
    (if (i32.ge_u (i32.sub (local.get $end) (local.get $at)) (i32.const 4))
      (then
        (local.set $sum (i64.add (local.get $sum) (i64.load32_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (if (i32.ge_u (i32.sub (local.get $end) (local.get $at)) (i32.const 2))
      (then
        (local.set $sum (i64.add (local.get $sum) (i64.load16_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))))
    (if (i32.lt_u (local.get $at) (local.get $end))
      (then
        (local.set $sum (i64.add (local.get $sum) (i64.load8_u (local.get $at))))))
    ;; 64 to 32 to 16 bits: each fold may carry once more.
    (local.set $sum (i64.add (i64.and (local.get $sum) (i64.const 0xffffffff)) (i64.shr_u (local.get $sum) (i64.const 32))))
    (local.set $sum (i64.add (i64.and (local.get $sum) (i64.const 0xffff)) (i64.shr_u (local.get $sum) (i64.const 16))))
    (local.set $sum (i64.add (i64.and (local.get $sum) (i64.const 0xffff)) (i64.shr_u (local.get $sum) (i64.const 16))))
    (local.set $sum (i64.add (i64.and (local.get $sum) (i64.const 0xffff)) (i64.shr_u (local.get $sum) (i64.const 16))))
    (i32.wrap_i64
      (i64.or
        (i64.shl (i64.and (local.get $sum) (i64.const 0xff)) (i64.const 8))
        (i64.shr_u (local.get $sum) (i64.const 8)))))

  (func (export "sum") (param $at i32) (param $length i32) (result i32)
    (local $end i32) (local $a v128) (local $b v128)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $under64
      (loop $by64
        (br_if $under64 (i32.lt_u (i32.sub (local.get $end) (local.get $at)) (i32.const 64)))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 (local.get $at)))))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (v128.load offset=32 (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (v128.load offset=48 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (br $by64)))
    (local.set $a (i32x4.add (local.get $a) (local.get $b)))
    (block $under16
      (loop $by16
        (br_if $under16 (i32.lt_u (i32.sub (local.get $end) (local.get $at)) (i32.const 16)))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $by16)))
    (call $finish (local.get $at) (local.get $end) (local.get $a)))

  (func (export "copySum") (param $source i32) (param $target i32) (param $length i32) (result i32)
    (local $end i32) (local $a v128) (local $b v128) (local $w v128) (local $x v128) (local $y v128) (local $z v128)
    (local.set $end (i32.add (local.get $source) (local.get $length)))
    (block $under64
      (loop $by64
        (br_if $under64 (i32.lt_u (i32.sub (local.get $end) (local.get $source)) (i32.const 64)))
        (local.set $w (v128.load (local.get $source)))
        (local.set $x (v128.load offset=16 (local.get $source)))
        (local.set $y (v128.load offset=32 (local.get $source)))
        (local.set $z (v128.load offset=48 (local.get $source)))
        (v128.store (local.get $target) (local.get $w))
        (v128.store offset=16 (local.get $target) (local.get $x))
        (v128.store offset=32 (local.get $target) (local.get $y))
        (v128.store offset=48 (local.get $target) (local.get $z))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $w))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (local.get $x))))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $y))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (local.get $z))))
        (local.set $source (i32.add (local.get $source) (i32.const 64)))
        (local.set $target (i32.add (local.get $target) (i32.const 64)))
        (br $by64)))
    (local.set $a (i32x4.add (local.get $a) (local.get $b)))
    (block $under16
      (loop $by16
        (br_if $under16 (i32.lt_u (i32.sub (local.get $end) (local.get $source)) (i32.const 16)))
        (local.set $w (v128.load (local.get $source)))
        (v128.store (local.get $target) (local.get $w))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $w))))
        (local.set $source (i32.add (local.get $source) (i32.const 16)))
        (local.set $target (i32.add (local.get $target) (i32.const 16)))
        (br $by16)))
    (memory.copy (local.get $target) (local.get $source) (i32.sub (local.get $end) (local.get $source)))
    (call $finish (local.get $source) (local.get $end) (local.get $a)))

  (func (export "copy") (param $source i32) (param $target i32) (param $length i32)
    (memory.copy (local.get $target) (local.get $source) (local.get $length))))
