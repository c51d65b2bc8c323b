module github.com/distinfer/distinfer/scripts/kubernetes/check

go 1.26.0
