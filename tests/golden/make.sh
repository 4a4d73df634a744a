#!/bin/sh
# Makes the golden volumes of a format that has none yet; see README.md. Not run by any test.
#
# The computer's name goes into a volume's header, the path into the keystore: neither is this machine's.
set -eu
cd "$(dirname "$0")/../.."
export CRYPTFS_GOLDEN=/tmp/golden
rm -rf "$CRYPTFS_GOLDEN"
cargo test --test suite --no-run
unshare --map-root-user --uts sh -c '
    hostname golden
    exec cargo test --quiet --test suite -- --ignored --exact golden::make::make'
for dir in "$CRYPTFS_GOLDEN"/*; do
    name=$(basename "$dir")
    # All this keeps the tar small.
    rm -f "$dir"/keystore/*.header.[12]
    find "$dir" -type f -size +31b -size -34b -exec fallocate --dig-holes {} \;
    (cd "$dir" && find kit keystore volume/.cryptfs volume/cryptfs.volume -exec touch --date=@1700000000 {} +)
    tar --create --blocking-factor=1 --file "tests/golden/$name.tar" --directory "$dir" --sort=name \
        --format=posix --pax-option="delete=atime,delete=ctime,exthdr.name=%d/%f.pax" --sparse --hole-detection=raw --xattrs \
        --numeric-owner --owner=0 --group=0 kit keystore volume
    cp "$dir/manifest.json" "tests/golden/$name.json"
done
# The worked example of cryptfs(5) is of the first one.
example=$CRYPTFS_GOLDEN/v1-directory
tests/golden/read.py "$example/volume" --keystore "$example/keystore" --example >"$CRYPTFS_GOLDEN/example"
sed -i -e '/^\.\\" read.py --example/,/^\.\\" end of the example/{//!d}' \
    -e "/^\\.\\\\\" read.py --example/r $CRYPTFS_GOLDEN/example" man/cryptfs.5
rm -rf "$CRYPTFS_GOLDEN"
ls -l tests/golden
