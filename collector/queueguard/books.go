package queueguard

import (
	"context"
	"slices"
	"strconv"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
)

// A queue notes in its books which items it is sending. When it is opened again it deletes all of these, and then adds one
// after the other at its end: those that it is killed before, or that the disk has no room for, are lost. So they are put
// back before that, in one transaction, to where it reads on.

// booksKey is what exporterhelper keeps its books under, and the fields are those of its meta.proto.
const (
	booksKey = "qmv0"

	itemsField   = 1
	bytesField   = 2
	readField    = 3
	writeField   = 4
	sendingField = 5
)

// books of a queue. It reads on at item `read`, and the items in `sending`, all before that, are with its senders.
type books struct {
	items, bytes, read, write uint64
	sending                   []uint64
}

// readBooks says false where they are not as expected, as of another release: then they are left alone.
func readBooks(text []byte) (found books, understood bool) {
	plain := map[protowire.Number]*uint64{
		itemsField: &found.items, bytesField: &found.bytes, readField: &found.read, writeField: &found.write,
	}
	for len(text) > 0 {
		field, kind, size := protowire.ConsumeTag(text)
		if size < 0 {
			return books{}, false
		}
		text = text[size:]
		switch {
		case plain[field] != nil && kind == protowire.Fixed64Type:
			*plain[field], size = protowire.ConsumeFixed64(text)
		case field == sendingField && kind == protowire.BytesType:
			var packed []byte
			packed, size = protowire.ConsumeBytes(text)
			for len(packed) > 0 && size >= 0 {
				item, used := protowire.ConsumeFixed64(packed)
				if used < 0 {
					return books{}, false
				}
				found.sending, packed = append(found.sending, item), packed[used:]
			}
		default:
			return books{}, false
		}
		if size < 0 {
			return books{}, false
		}
		text = text[size:]
	}
	slices.Sort(found.sending)
	found.sending = slices.Compact(found.sending)
	last := len(found.sending) - 1
	return found, found.read <= found.write && (last < 0 || found.sending[last] < found.read)
}

// text of books of which nothing is being sent.
func (b books) text() (text []byte) {
	for index, number := range []uint64{b.items, b.bytes, b.read, b.write} {
		text = protowire.AppendTag(text, protowire.Number(index+itemsField), protowire.Fixed64Type)
		text = protowire.AppendFixed64(text, number)
	}
	return text
}

// resume has the queue begin with what was being sent when the Collector ended. Where there is no room to move items for that it
// begins with the first of them, and finds nothing in the places of those that are gone.
func (c *roomyClient) resume(ctx context.Context) error {
	text, err := c.Client.Get(ctx, booksKey)
	if err != nil {
		return err
	}
	found, understood := readBooks(text)
	if !understood || len(found.sending) == 0 {
		return nil
	}
	items, err := c.itemsOf(ctx, found.sending)
	if err != nil {
		return err
	}
	moved, unmoved := found, found
	moved.read -= uint64(len(items))
	if len(items) > 0 {
		unmoved.read = items[0].number
	}
	err = c.Client.Batch(ctx, append(movesOf(items, found.read), storage.SetOperation(booksKey, moved.text()))...)
	if isFull(err) {
		err = c.Set(ctx, booksKey, unmoved.text())
	}
	if err == nil {
		c.guard.logger.Info("What was being sent when the Collector ended is sent again.", zap.Int("items", len(items)))
	}
	return err
}

type item struct {
	number uint64
	value  []byte
}

// itemsOf those numbers that are there.
func (c *roomyClient) itemsOf(ctx context.Context, numbers []uint64) (found []item, err error) {
	var gets []*storage.Operation
	for _, number := range numbers {
		gets = append(gets, storage.GetOperation(keyOf(number)))
	}
	err = c.Client.Batch(ctx, gets...)
	for index, get := range gets {
		if get.Value != nil {
			found = append(found, item{numbers[index], get.Value})
		}
	}
	return found, err
}

// movesOf items, which are in order, to the places before `end`: the last one first, for its own may be that of another.
func movesOf(items []item, end uint64) (ops []*storage.Operation) {
	for _, each := range slices.Backward(items) {
		end--
		if each.number != end {
			ops = append(ops, storage.SetOperation(keyOf(end), each.value), storage.DeleteOperation(keyOf(each.number)))
		}
	}
	return ops
}

func keyOf(number uint64) string { return strconv.FormatUint(number, 10) }
