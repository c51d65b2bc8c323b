package oip

import (
	"fmt"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// BenchmarkParseRequest reads a body of three inputs of 4×128 numbers, flat and nested.
func BenchmarkParseRequest(b *testing.B) {
	row := "101"
	for i := 1; i < 128; i++ {
		row += fmt.Sprintf(",%d", 1000+i*211)
	}
	for name, data := range map[string]string{
		"flat":   "[" + strings.Repeat(row+",", 3) + row + "]",
		"nested": "[" + strings.Repeat("["+row+"],", 3) + "[" + row + "]]",
	} {
		var inputs []string
		for _, name := range []string{"input_ids", "attention_mask", "token_type_ids"} {
			inputs = append(inputs, fmt.Sprintf(`{"name": %q, "datatype": "INT64", "shape": [4, 128], "data": %s}`, name, data))
		}
		body := []byte(`{"id": "1", "inputs": [` + strings.Join(inputs, ", ") + `]}`)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				in, err := parseJSON(body)
				if err != nil {
					b.Fatal(err)
				}
				for _, i := range in.inputs {
					if _, err := fromJSON(tensor.Int64, i.shape, 4*128, *i.data); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
