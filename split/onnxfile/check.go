package onnxfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
)

// CheckExternal fails when a tensor anywhere in the model file at path may have its
// data in another file than the one named data in the same folder; with data "",
// when it may have it in any. A runtime that loads the model then opens no others.
//
// It does not read the model as Parse does, since the runtime might read a malformed
// one in another way: what looks like a reference is taken for one, whether or not
// the tensor says that its data is external, and however often a field is there.
func CheckExternal(path, data string) error {
	b, err := mapFile(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(b) }()
	if err := checkExternal(b, data); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func checkExternal(model []byte, data string) error {
	return tensors(model, modelMessage, 0, func(tensor []byte) error {
		err := fields(tensor, func(f field) error {
			if f.num != 13 || f.typ != protowire.BytesType { // external_data
				return nil
			}
			key, value, err := entry(f.bytes)
			switch {
			case err != nil:
				return err
			case key != "location" || value == data && data != "":
				return nil
			case data == "":
				return fmt.Errorf("its data is in the file %q, but the model should need no other file", value)
			}
			return fmt.Errorf("its data is in the file %q; the model's data may be in %q only", value, data)
		})
		if err != nil {
			name, _ := stringIn(tensor, 8) // a malformed one has none
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		return nil
	})
}

// entry reads an entry of external_data. Both of its fields are there once at most.
func entry(b []byte) (key, value string, err error) {
	var there [3]bool
	err = fields(b, func(f field) error {
		var to *string
		switch f.num {
		case 1:
			to = &key
		case 2:
			to = &value
		default:
			return nil
		}
		if there[f.num] {
			return errors.New("an entry of its external data says something twice")
		}
		there[f.num] = true
		return f.str(to)
	})
	return key, value, err
}
