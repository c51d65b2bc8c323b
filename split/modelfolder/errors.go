package modelfolder

import (
	"fmt"
	"strings"
)

// A FolderError says that a file of a folder was named, and what was given is a file.
type FolderError struct{ Path string }

func (e *FolderError) Error() string {
	return e.Path + " is a file, in which there is no other to choose"
}

// A BundleError says that a folder holds a model that was split already.
type BundleError struct{ Dir string }

func (e *BundleError) Error() string { return e.Dir + " is a bundle: a model that was split already" }

// A NoModelError says that a folder holds no ONNX file.
type NoModelError struct {
	Dir     string
	Weights string // a file of another format that is there, or ""
}

func (e *NoModelError) Error() string {
	if e.Weights != "" {
		return fmt.Sprintf("%s holds no .onnx file, only %s", e.Dir, e.Weights)
	}
	return e.Dir + " holds no .onnx file, nor do the folders in it"
}

// A FileError says that a folder has no file of a name, or several.
type FileError struct {
	Dir, File string
	There     []string // the ONNX files that there are
	Several   bool
}

func (e *FileError) Error() string {
	what := "no"
	if e.Several {
		what = "more than one"
	}
	return fmt.Sprintf("%s holds %s %q; there is %s", e.Dir, what, e.File, Listed(e.There))
}

// Listed is a list of names for people.
func Listed(names []string) string {
	const most = 12
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// A MissingError says that a file is missing without which no text can be answered.
type MissingError struct {
	File     string   // tokenizer.json or config.json
	LookedIn []string // the folders
	Slow     string   // a file that holds a tokenizer in another form, or ""
	// NoFast is the tokenizer's class when no tokenizer.json can be made of it; or "".
	NoFast string
}

func (e *MissingError) Error() string {
	at := "no " + e.File + " in " + strings.Join(e.LookedIn, " or ")
	switch {
	case e.NoFast != "":
		return fmt.Sprintf("%s, and none can be made: %s has no fast form", at, e.NoFast)
	case e.Slow != "":
		return fmt.Sprintf("%s, only the tokenizer's older form (%s)", at, e.Slow)
	}
	return at
}

// A NameError says that a name cannot be a model's.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("%.200q cannot be a model's name: it may have letters, digits, '.', '_' and '-', begins with a letter or a digit, and has at most %d characters", e.Name, maxName)
}
