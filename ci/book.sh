#!/usr/bin/env bash
# The book (mdBook) of the README and the pages in docs/: target/book/html. Its links lead somewhere, headings
# included. mdBook takes minutes to install, so the gate builds the book where it is installed;
# `ci/book.sh install` installs it first, into the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
version=0.5.4
PATH=$target/tools/bin:$PATH
if ! command -v mdbook >/dev/null; then
    if [ "${1:-}" != install ]; then
        echo "mdbook is not installed: the book is skipped (ci/book.sh install)"
        exit 0
    fi
    cargo install --quiet mdbook --locked --version "$version" --no-default-features --features search \
        --root "$target/tools" || { echo "mdbook cannot be had: the book is skipped"; exit 0; }
fi

# The pages lie in the book as they lie here, so that links between them need no change. What a page links to
# and is no part of the book is on GitHub.
book=$target/book
rm -rf "$book"
mkdir -p "$book/src"
cp -r README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md docs "$book/src/"
mv "$book/src/docs/book.toml" "$book/"
sed -E 's|\]\(\.\./|](|; t; s|\]\(|](docs/|' docs/SUMMARY.md >"$book/src/SUMMARY.md"
rm "$book/src/docs/SUMMARY.md"
tree=https://github.com/adjourn-rs/adjourn/tree/main
sed -i -E "s#\]\(\.\./([a-z])#]($tree/\1#g" "$book"/src/docs/*.md
sed -i -E "s#\]\((crates|examples|ci|tests)/#]($tree/\1/#g" "$book"/src/*.md
# The README is the first page, which is called index.
sed -i -E 's#\]\((\.\./)?README\.md#](\1index.md#g' "$book"/src/*.md "$book"/src/docs/*.md
sed -i 's#index\.md#README.md#' "$book/src/SUMMARY.md"
MDBOOK_LOG=warn mdbook build --dest-dir "$book/html" "$book"

# Every link of the book, to its page and heading, and every picture.
wrong=0 links=0
while IFS=: read -r page link; do
    link=${link#*=\"} link=${link%\"}
    file=${link%%#*} anchor=
    [[ $link == *#* ]] && anchor=${link#*#}
    to=$page
    [ -n "$file" ] && to=$(dirname "$page")/$file
    links=$((links + 1))
    if [ ! -e "$to" ] || { [ -n "$anchor" ] && ! grep -q "id=\"$anchor\"" "$to"; }; then
        echo "${page#"$book/html/"}: $link leads nowhere" >&2
        wrong=$((wrong + 1))
    fi
done < <(grep -roE '(href|src)="[^"]*"' "$book/html" --include='*.html' | grep -vE '="(https?:|mailto:|")' |
    grep -vE '/(print|404|toc)\.html:' | sort -u)
[ "$links" -gt 100 ] || { echo "$links links are seen" >&2; exit 1; }
[ "$wrong" = 0 ] || exit 1
echo "the book: $book/html/index.html, $links links"
