#!/bin/sh
# Build engine.plan from the ONNX file with the TensorRT of this device, and note its sha256 beside it.
# Usage: ./build_engine.sh [TRTEXEC]
set -eu
cd "$(dirname "$0")"
trtexec=${1:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
[ -x "$trtexec" ] || { echo "build_engine.sh: trtexec is not found. Give its path (JetPack: apt install tensorrt)." >&2; exit 2; }

# trtexec's first line says the version: v8502 is 8.5.2, v101303 is 10.13.3. From 10.12 on the network itself says which
# layers run in INT8; before, flags allow it.
version=$("$trtexec" --help 2>&1 | sed -n 's/.*\[TensorRT v\([0-9]*\)\].*/\1/p' | head -n 1)
case "$version" in
    '') echo "build_engine.sh: $trtexec does not say its version. Give another one." >&2; exit 2 ;;
esac
if [ "$version" -ge 110000 ]; then flags=; elif [ "$version" -ge 101200 ]; then flags=--stronglyTyped; else flags='@FLAGS@'; fi
if [ "$version" -lt 8600 ]; then only=--buildOnly; else only=--skipInference; fi

# shellcheck disable=SC2086 # several flags
"$trtexec" --onnx=@ONNX@ --saveEngine=engine.plan.partial $flags \
    --minShapes=@SHELL_INPUT@:1x@SHAPE@ --optShapes=@SHELL_INPUT@:1x@SHAPE@ --maxShapes=@SHELL_INPUT@:@BATCH@x@SHAPE@ "$only"
mv engine.plan.partial engine.plan
sha256sum engine.plan > engine.plan.sha256
echo "engine.plan is built for TensorRT v$version and this GPU only."
