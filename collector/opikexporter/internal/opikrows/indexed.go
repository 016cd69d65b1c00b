package opikrows

import (
	"cmp"
	"slices"
	"strings"
)

// indexedList puts a list together again that was flattened into many attributes (`gen_ai.prompt.0.role`), in the order
// of its indexes.
func indexedList(span attributes, prefix string) []any {
	tree := object{}
	start := prefix + "."
	for _, key := range span.order {
		if path, found := strings.CutPrefix(key, start); found && startsWithIndex(path) {
			plant(tree, strings.Split(path, "."), span.values[key])
		}
	}
	list, _ := grow(tree).([]any)
	return list
}

// plant puts a value where its path leads. A branch is worth more than a leaf in the same place.
func plant(tree object, path []string, value any) {
	for _, step := range path[:len(path)-1] {
		branch, isBranch := tree[step].(object)
		if !isBranch {
			branch = object{}
			tree[step] = branch
		}
		tree = branch
	}
	last := path[len(path)-1]
	if _, isBranch := tree[last].(object); !isBranch {
		tree[last] = value
	}
}

// grow makes lists of objects whose keys are all indexes.
func grow(value any) any {
	tree, isTree := value.(object)
	if !isTree {
		return value
	}
	keys := make([]string, 0, len(tree))
	onlyIndexes := len(tree) > 0
	for key := range tree {
		keys = append(keys, key)
		onlyIndexes = onlyIndexes && isIndex(key)
	}
	if !onlyIndexes {
		grown := make(object, len(tree))
		for key, branch := range tree {
			grown[key] = grow(branch)
		}
		return grown
	}
	slices.SortFunc(keys, compareIndexes)
	list := make([]any, 0, len(tree))
	for _, key := range keys {
		list = append(list, grow(tree[key]))
	}
	return list
}

// longestIndex is the number of digits beyond which a number counts nothing that anybody could have sent.
const longestIndex = 9

// isIndex tells whether a step of a key is an index.
func isIndex(step string) bool { return len(step) <= longestIndex && allDigits(step) }

// startsWithIndex tells whether the first step of a path is an index.
func startsWithIndex(path string) bool {
	first, _, _ := strings.Cut(path, ".")
	return isIndex(first)
}

// compareIndexes compares them as numbers, and by their text where the numbers are the same.
func compareIndexes(left, right string) int {
	a, b := strings.TrimLeft(left, "0"), strings.TrimLeft(right, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b), strings.Compare(left, right))
}
