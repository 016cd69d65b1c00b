package queueguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// bbolt's own check follows what pages say of themselves, into endless memory where a length is wrong, and it does not look
// at all that bbolt relies on when it writes: a page that is named in its parent by another key than its first is written
// anew beside the old one, and some transactions later bbolt ends with "page already freed". So the pages are read here
// first, from the file, and held against what bbolt has always written.
//
// A page begins with its number (uint64), kind, count of elements (uint16 each) and how many pages follow that belong to it
// (uint32). An element of a branch is where its key is, how long that is (uint32 each), and the number of a page (uint64);
// one of a leaf is flags, where its key is, how long that is, and how long the value after it is (uint32 each). The value
// of a bucket is the number of its first page (uint64) and a sequence (uint64), and if the number is 0 that page itself.
//
// A transaction of number n wrote its root into page n%2, and beside it the number of the page that lists free pages (uint64).
// file_storage has no such list written, bbolt itself begins a file with one. Its head counts the numbers (uint64) in it, and
// where these are too many for that the first of them does.
const (
	headSize    = 16
	elementSize = 16
	bucketSize  = 16
	numberSize  = 8

	freelistAt = 48 // in the page of a transaction
	noFreelist = 1<<64 - 1

	branchKind   = 1
	leafKind     = 2
	freelistKind = 16
	bucketFlag   = 1
	manyFree     = 1<<16 - 1
)

var native = binary.NativeEndian // bbolt maps its structures into memory as they are

// pages of a bbolt file, each of which may be met once.
type pages struct {
	file io.ReaderAt
	size int    // of one page
	end  uint64 // the first page number that is not in use
	met  map[uint64]bool
}

// element of a page: a bucket or an item in a leaf, a page in a branch.
type element struct {
	key, value []byte
	bucket     bool
	page       uint64
}

// tree reads a page and all below it. It returns the first key and how many branches are above each leaf.
func (p *pages) tree(number uint64) (first []byte, height int, err error) {
	text, err := p.page(number)
	if err != nil {
		return nil, 0, err
	}
	elements, leaf, err := elementsOf(text)
	switch {
	case err != nil:
	case leaf:
		err = p.buckets(elements)
	case len(elements) < 2:
		err = errors.New("a branch with less than two pages")
	default:
		height, err = p.below(elements)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("page %d: %w", number, err)
	}
	if len(elements) > 0 {
		first = elements[0].key
	}
	return first, height, nil
}

// meet a page, which is in the tree or in the list of free pages, or is that list, and nowhere else.
func (p *pages) meet(number uint64) error {
	if number < 2 || number >= p.end || p.met[number] {
		return fmt.Errorf("page %d is not one of the file's, or is met twice", number)
	}
	p.met[number] = true
	return nil
}

// free reads the list of free pages, after the tree: bbolt's own check does not see that a page of both is a second page of an
// item's, and ends with "page already freed" when the item is deleted.
func (p *pages) free(transaction uint64) error {
	newest, err := p.read(transaction%2, 1)
	if err != nil {
		return err
	}
	number := native.Uint64(newest[freelistAt:])
	if number == noFreelist {
		return nil
	}
	text, err := p.page(number)
	if err != nil {
		return err
	}
	count, numbers := uint64(native.Uint16(text[10:])), text[headSize:]
	if count == manyFree {
		count, numbers = native.Uint64(numbers), numbers[numberSize:]
	}
	if kind := native.Uint16(text[8:]); kind != freelistKind || count > uint64(len(numbers)/numberSize) {
		return fmt.Errorf("page %d: kind %d with %d free pages", number, kind, count)
	}
	for index := range count {
		if err := p.meet(native.Uint64(numbers[index*numberSize:])); err != nil {
			return fmt.Errorf("page %d: %w", number, err)
		}
	}
	return nil
}

// page is all of a page, with the pages that belong to it.
func (p *pages) page(number uint64) ([]byte, error) {
	if err := p.meet(number); err != nil {
		return nil, err
	}
	text, err := p.read(number, 1)
	if err != nil {
		return nil, err
	}
	more := uint64(native.Uint32(text[12:]))
	if native.Uint64(text) != number || more >= p.end-number {
		return nil, fmt.Errorf("page %d calls itself %d, with %d more", number, native.Uint64(text), more)
	}
	for next := range more {
		if err := p.meet(number + 1 + next); err != nil {
			return nil, err
		}
	}
	if more > 0 {
		return p.read(number, more+1)
	}
	return text, nil
}

func (p *pages) read(number, count uint64) ([]byte, error) {
	text := make([]byte, int(count)*p.size)
	if _, err := p.file.ReadAt(text, int64(number)*int64(p.size)); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %v", number, err) // what cannot be read cannot be used: corrupt, not undecided
	}
	return text, nil
}

// below reads the pages of a branch. They begin with the keys that name them, and all leaves are equally deep.
func (p *pages) below(elements []element) (height int, err error) {
	for index, each := range elements {
		first, deep, err := p.tree(each.page)
		switch {
		case err != nil:
			return 0, err
		case !bytes.Equal(first, each.key):
			return 0, fmt.Errorf("it names page %d by another key than its first", each.page)
		case index > 0 && deep+1 != height:
			return 0, errors.New("leaves of unequal depth")
		}
		height = deep + 1
	}
	return height, nil
}

// buckets reads the buckets among the elements of a leaf.
func (p *pages) buckets(elements []element) error {
	for _, each := range elements {
		if !each.bucket {
			continue
		}
		if len(each.value) < bucketSize {
			return errors.New("a bucket without a page")
		}
		if root := native.Uint64(each.value); root != 0 {
			if _, _, err := p.tree(root); err != nil {
				return err
			}
			continue
		}
		inner, leaf, err := elementsOf(each.value[bucketSize:])
		if err != nil {
			return err
		}
		if !leaf || native.Uint64(each.value[bucketSize:]) != 0 {
			return errors.New("a page within an element that is no leaf, or has a number")
		}
		for _, one := range inner {
			if one.bucket {
				return errors.New("a bucket within a page within an element")
			}
		}
	}
	return nil
}

// elementsOf a page, all of which lie within it and have keys that bbolt would write, in order. (bbolt's own check does not look at the
// order within a page within an element; as soon as that is written as a page of its own, the file cannot be opened again.)
func elementsOf(text []byte) (elements []element, leaf bool, err error) {
	if len(text) < headSize {
		return nil, false, errors.New("a page without a head")
	}
	kind, count := native.Uint16(text[8:]), int(native.Uint16(text[10:]))
	leaf = kind == leafKind
	if !leaf && kind != branchKind || headSize+count*elementSize > len(text) {
		return nil, false, fmt.Errorf("kind %d with %d elements", kind, count)
	}
	elements = make([]element, count)
	for index := range elements {
		rest := text[headSize+index*elementSize:] // an element counts from its own beginning
		first, second := native.Uint32(rest), native.Uint32(rest[4:])
		third, fourth := native.Uint32(rest[8:]), native.Uint32(rest[12:])
		at, keySize, valueSize := uint64(first), uint64(second), uint64(0)
		if leaf {
			at, keySize, valueSize = uint64(second), uint64(third), uint64(fourth)
		}
		if keySize == 0 || keySize > bbolt.MaxKeySize || at+keySize+valueSize > uint64(len(rest)) {
			return nil, false, fmt.Errorf("element %d has a key of %d bytes and a value of %d at %d", index, keySize, valueSize, at)
		}
		key, value := rest[at:at+keySize], rest[at+keySize:at+keySize+valueSize]
		if leaf {
			elements[index] = element{key: key, value: value, bucket: first&bucketFlag != 0}
		} else {
			elements[index] = element{key: key, page: native.Uint64(rest[8:])}
		}
		if index > 0 && bytes.Compare(elements[index-1].key, key) >= 0 {
			return nil, false, fmt.Errorf("element %d has a key that is not after the one before it", index)
		}
	}
	return elements, leaf, nil
}
