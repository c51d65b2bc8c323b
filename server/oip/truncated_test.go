package oip_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/oip/oippb"
)

func TestAResponseNamesTheTextsThatWereCut(t *testing.T) {
	t.Parallel()
	m := model()
	m.Text = &oip.Text{Labels: []string{"a"}, Answer: func(_ context.Context, inputs []textmodel.Input) ([]textmodel.Answer, error) {
		answers := make([]textmodel.Answer, len(inputs))
		for i, in := range inputs {
			answers[i].Tokens.Truncated = in.Text == "long"
		}
		return answers, nil
	}, Results: func(textmodel.Answer) ([]text.Result, error) { return []text.Result{{Label: "a", Score: 1}}, nil }}
	s := oip.New(config(m))
	ask := func(texts string) string {
		w := post(s, "/v2/models/m-text/infer", `{"inputs":[{"name":"text","datatype":"BYTES","shape":[3],"data":[`+texts+`]}]}`)
		if w.Code != http.StatusOK {
			t.Errorf("%d, %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if got := ask(`"long","x","long"`); !strings.Contains(got, `"parameters":{"truncated":"0, 2"}`) {
		t.Errorf("two that were cut: %s", got)
	}
	if got := ask(`"x","y","z"`); strings.Contains(got, "truncated") {
		t.Errorf("none that was cut: %s", got)
	}
	conn := serve(t, config(m))
	out, err := infer(t.Context(), conn, &oippb.ModelInferRequest{ModelName: "m-text", Inputs: []*oippb.ModelInferRequest_InferInputTensor{{
		Name: "text", Datatype: "BYTES", Shape: []int64{2}, Contents: &oippb.InferTensorContents{BytesContents: [][]byte{[]byte("x"), []byte("long")}},
	}}})
	if err != nil || out.GetParameters()["truncated"].GetStringParam() != "1" {
		t.Errorf("%v, %v", out.GetParameters(), err)
	}
}
