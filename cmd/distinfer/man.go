package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan makes the command that packages are built with; it is not listed.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write a manual page of each command into a folder",
		Hidden: true,
		Args:   arguments(false, "FOLDER, to write manual pages to,"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same bytes on every day
			return doc.GenManTree(root, &doc.GenManHeader{Source: "distinfer " + buildVersion(), Manual: "distinfer"}, args[0])
		},
	}
}
