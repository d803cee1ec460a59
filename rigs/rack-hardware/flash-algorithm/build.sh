#!/usr/bin/env bash
# Prints the entry of ../src/boards/mk-node-emulated.yaml. Needs a distribution's rustc with its library source and binutils for ARM.
#   flash-algorithm/build.sh /usr/bin
set -euo pipefail
cd "$(dirname "$0")"
rust=${1:-/usr/bin}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
RUSTC="$rust/rustc" RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Clinker=arm-none-eabi-ld -Clinker-flavor=ld -Clink-arg=-T$PWD/link.x" \
    "$rust/cargo" build --quiet --release -Zbuild-std=core --target thumbv6m-none-eabi --target-dir "$out"
elf=$out/thumbv6m-none-eabi/release/flash-algorithm
arm-none-eabi-objcopy -O binary "$elf" "$out/code.bin"
while (($(stat -c %s "$out/code.bin") % 4)); do printf '\0' >>"$out/code.bin"; done
echo "  instructions: $(base64 -w0 "$out/code.bin")"
arm-none-eabi-nm "$elf" | sed -nE 's/^0*([0-9a-f]+) T (Init|UnInit|EraseSector|ProgramPage)$/  \2: 0x\1/p'
echo "  data_section_offset: $(stat -c %s "$out/code.bin")"
