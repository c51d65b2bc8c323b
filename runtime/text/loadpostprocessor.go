package text

import (
	"github.com/distinfer/distinfer/runtime/strictjson"
)

func loadPostProcessor(n strictjson.Value) (postProcessor, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	var made postProcessor
	switch kind := o.Choice("type", "BertProcessing", "RobertaProcessing", "ByteLevel", "TemplateProcessing", "Sequence"); kind {
	case "BertProcessing", "RobertaProcessing":
		p := bertProcessing{
			sep: strictjson.Read(o, "sep", readLiteral),
			cls: strictjson.Read(o, "cls", readLiteral),
		}
		if kind == "RobertaProcessing" {
			p.roberta = &byteLevelProcessing{trim: o.Bool("trim_offsets"), prefixed: o.Bool("add_prefix_space")}
		}
		made = p
	case "ByteLevel":
		made = byteLevelProcessing{trim: o.Bool("trim_offsets"), prefixed: o.Bool("add_prefix_space")}
		o.Flag("use_regex", true) // is the pre-tokenizer's
	case "TemplateProcessing":
		made = loadTemplate(o)
	case "Sequence":
		var all postProcessorSequence
		for _, f := range o.List("processors") {
			next, err := loadPostProcessor(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.Finish()
}

// readLiteral reads ["[SEP]", 102].
func readLiteral(n strictjson.Value) (literal, error) {
	pair, err := n.List()
	if err != nil {
		return literal{}, err
	}
	if len(pair) != 2 {
		return literal{}, n.Errorf("want a token and its id")
	}
	token, err := pair[0].Text()
	if err != nil {
		return literal{}, err
	}
	id, err := pair[1].Uint32()
	return literal{token, id}, err
}

func loadTemplate(o *strictjson.Object) templateProcessing {
	var t templateProcessing
	special := map[string][]literal{}
	if list := strictjson.Read(o, "special_tokens", strictjson.Value.Object); list != nil {
		for key, f := range list.Fields() {
			tokens, err := readSpecialToken(f)
			o.Fail(err)
			special[key] = tokens
		}
	}
	t.single, t.pair = loadPieces(o, "single", special), loadPieces(o, "pair", special)
	return t
}

func loadPieces(o *strictjson.Object, key string, special map[string][]literal) template {
	var t template
	list := o.List(key)
	if len(list) > maxPieces {
		o.Fail(o.Errorf("%q has %d pieces, more than %d", key, len(list), maxPieces))
		return t
	}
	for _, f := range list {
		piece, err := readPiece(f, key == "pair", special)
		o.Fail(err)
		t.count += len(piece.tokens)
		t.pieces = append(t.pieces, piece)
	}
	if t.count > maxLiterals {
		o.Fail(o.Errorf("%q has %d special tokens, more than %d", key, t.count, maxLiterals))
	}
	return t
}

func readSpecialToken(n strictjson.Value) ([]literal, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	o.Text("id")
	ids, names := o.List("ids"), o.List("tokens")
	if err := o.Finish(); err != nil {
		return nil, err
	}
	if len(ids) != len(names) {
		return nil, n.Errorf("%d ids for %d tokens", len(ids), len(names))
	}
	out := make([]literal, len(ids))
	for i := range ids {
		if out[i].id, err = ids[i].Uint32(); err != nil {
			return nil, err
		}
		if out[i].token, err = names[i].Text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readPiece reads {"Sequence": {"id": "A", "type_id": 0}} or {"SpecialToken": …}.
func readPiece(n strictjson.Value, inPair bool, special map[string][]literal) (templatePiece, error) {
	o, err := n.Object()
	if err != nil {
		return templatePiece{}, err
	}
	var piece templatePiece
	key := "SpecialToken"
	if o.Has("Sequence") {
		key, piece.text = "Sequence", true
	}
	in := strictjson.Read(o, key, strictjson.Value.Object)
	if err := o.Finish(); err != nil {
		return piece, err
	}
	id := in.Text("id")
	piece.typeID = in.Uint32("type_id")
	if err := in.Finish(); err != nil {
		return piece, err
	}
	if piece.text {
		if id != "A" && (id != "B" || !inPair) {
			return piece, n.Errorf("sequence %q is not supported here (supported: A)", id)
		}
		if id == "B" {
			piece.which = 1
		}
		return piece, nil
	}
	var ok bool
	if piece.tokens, ok = special[id]; !ok {
		return piece, n.Errorf("special token %q is not among special_tokens", id)
	}
	return piece, nil
}
