//! Headings and marks of tables.

super::messages! {
    /// A heading or a mark in a table.
    Label {
        Added {} "added" "添加时间"
        Age {} "modified" "修改时间"
        BadFrames {} "bad frames" "坏帧"
        Command {} "command" "命令"
        Count {} "paths" "路径数"
        Files {} "files" "文件数"
        Held {} "held" "保全"
        HeldMark {} "held" "已保全"
        Key {} "key" "密钥"
        Kind {} "kind" "类型"
        Latest {} "latest" "最新"
        LogEntries {} "log entries" "日志条目"
        Nothing {} "" ""
        ObjectsBehind {} "objects behind" "缺少对象"
        OpenSessions {} "open sessions" "未结束会话"
        PartialMark {} "partial" "不完整"
        Replica {} "replica" "副本"
        Role {} "role" "角色"
        Size {} "size" "大小"
        SizeClass {} "file size" "文件大小"
        Slot {} "opened by" "开启方式"
        Snapshot {} "snapshot" "快照"
        Snapshots {} "snapshots" "快照数"
        Source {} "source" "数据源"
        Tags {} "tags" "标签"
        ThisKey {} "in use now" "当前使用"
        Time {} "time" "时间"
    }
}
