package onnxfile

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a kind of message that tensors can be in.
type message uint8

const (
	tensorMessage message = iota
	sparseMessage
	attributeMessage
	nodeMessage
	graphMessage
	functionMessage
	trainingMessage
	modelMessage
)

// inside tells by which fields of a message tensors are reached.
func inside(m message, num protowire.Number) (message, bool) {
	switch m {
	case sparseMessage:
		return tensorMessage, num == 1 || num == 2
	case attributeMessage:
		switch num {
		case 5, 10:
			return tensorMessage, true
		case 6, 11:
			return graphMessage, true
		case 22, 23:
			return sparseMessage, true
		}
	case nodeMessage:
		return attributeMessage, num == 5
	case graphMessage:
		switch num {
		case 1:
			return nodeMessage, true
		case 5:
			return tensorMessage, true
		case 15:
			return sparseMessage, true
		}
	case functionMessage:
		switch num {
		case 7:
			return nodeMessage, true
		case 11:
			return attributeMessage, true
		}
	case trainingMessage:
		return graphMessage, num == 1 || num == 2
	case modelMessage:
		switch num {
		case 7:
			return graphMessage, true
		case 20:
			return trainingMessage, true
		case 25:
			return functionMessage, true
		}
	}
	return 0, false
}

// edit copies a field that holds message m, with every tensor in it that change
// gives other fields for. Everything else is kept as it stands.
func edit(raw []byte, m message, change func(Initializer) (fields []byte, drop []protowire.Number)) []byte {
	num, _, n := protowire.ConsumeTag(raw)
	body, _ := protowire.ConsumeBytes(raw[n:])
	var kept, added []byte
	var drop []protowire.Number
	if m == tensorMessage {
		t, _ := parseTensor(field{num: num, typ: protowire.BytesType, bytes: body, raw: raw}) // it was read before
		added, drop = change(t)
		if added == nil {
			return raw
		}
	}
	_ = fields(body, func(f field) error {
		if slices.Contains(drop, f.num) {
			return nil
		}
		if sub, ok := inside(m, f.num); ok && f.typ == protowire.BytesType {
			kept = append(kept, edit(f.raw, sub, change)...)
			return nil
		}
		kept = append(kept, f.raw...)
		return nil
	})
	return appendMessage(nil, num, append(kept, added...))
}

// maxMessages bounds how deep messages with tensors may be nested: a body is a graph
// of nodes of attributes, and bodies are nested less than maxDepth deep.
const maxMessages = 3*maxDepth + 8

// tensors calls visit with every tensor in a message.
func tensors(b []byte, m message, depth int, visit func(tensor []byte) error) error {
	if m == tensorMessage {
		return visit(b)
	}
	if depth > maxMessages {
		return fmt.Errorf("graphs are nested more than %d deep", maxDepth)
	}
	return fields(b, func(f field) error {
		sub, ok := inside(m, f.num)
		if !ok || f.typ != protowire.BytesType {
			return nil
		}
		return tensors(f.bytes, sub, depth+1, visit)
	})
}
