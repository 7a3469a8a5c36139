//! What went wrong: the sentence behind `error:`.

use shudao_vault::Kind;

super::messages! {
    /// What went wrong. Begins with a small letter and has no full stop, for it stands behind `error:`.
    #[derive(Debug, Clone, PartialEq)]
    Problem {
        Engine { text: String }
            "{text}"
            "执行失败：{text}"
        VaultNoVault { text: String }
            "{text}"
            "没有保险库：{text}"
        VaultWrongKey { text: String }
            "{text}"
            "密钥不符：{text}"
        VaultForbidden { text: String }
            "{text}"
            "权限不足：{text}"
        VaultDamaged { text: String }
            "{text}"
            "数据已损坏：{text}"
        VaultMissing { text: String }
            "{text}"
            "缺少对象：{text}"
        VaultInput { text: String }
            "{text}"
            "输入有误：{text}"
        VaultUnavailable { text: String }
            "{text}"
            "存储暂不可用：{text}"
        VaultDenied { text: String }
            "{text}"
            "存储拒绝了凭据：{text}"
        VaultFull { text: String }
            "{text}"
            "空间不足：{text}"
        VaultNotTheWriter { text: String }
            "{text}"
            "仅指定的客户端可以写入：{text}"
        VaultConflict { text: String }
            "{text}"
            "与其他操作冲突：{text}"
        VaultUnlocked { text: String }
            "{text}"
            "无法锁定对象：{text}"
        VaultUnsupported { text: String }
            "{text}"
            "不支持：{text}"
        VaultBug { text: String }
            "{text}"
            "内部错误：{text}"
        LocksNotSettled {}
            "it is not settled for any of the named replicas that its objects are kept locked"
            "指定的副本均未设定对象锁定"
        NoPolicy {}
            "the vault's owner has settled no rules of retention"
            "保险库所有者未设定保留规则"
        SeveralSources { sources: String }
            "`latest` is ambiguous: the vault holds several sources ({sources})"
            "`latest` 不明确：保险库中有多个数据源（{sources}）"
        NoSnapshot {}
            "no snapshot matches"
            "没有匹配的快照"
        NotASnapshotName { name: String, digits: usize }
            "{name:?} names no snapshot: expected `latest` or at least {digits} hexadecimal digits of an id"
            "{name:?} 不是快照名称：应为 `latest`，或编号的至少 {digits} 位十六进制数字"
        NoSuchPath { path: String, snapshot: String }
            "there is no {path:?} in snapshot {snapshot}"
            "快照 {snapshot} 中没有 {path:?}"
        NotAFile { path: String }
            "{path:?} is not a regular file"
            "{path:?} 不是普通文件"
        NotEverythingRestored { count: String }
            "{count} paths could not be restored; everything else was"
            "有 {count} 个路径未能恢复；其余均已恢复"
        NoWriterNamed { address: String }
            "the store at {address} does not create objects only if they are absent, and the vault's settings name no client that alone may write"
            "{address} 处的存储不支持“仅当不存在时创建”，而保险库设置中未指定唯一可写的客户端"
        Interrupted {}
            "interrupted"
            "已中断"
        ReaderGone {}
            "nobody reads stdout any more"
            "标准输出已无读取方"
        WriteStdout {}
            "write to stdout"
            "写入标准输出失败"
        NoRuntime {}
            "start the worker threads"
            "无法启动工作线程"
        NoProgram {}
            "find this program's own file"
            "找不到本程序自身的文件"
        ReadFile { path: String }
            "read {path}"
            "读取 {path} 失败"

        NoVaultNamed {}
            "no vault is named"
            "未指定保险库"
        UnknownVault { name: String, known: String }
            "{name:?} is neither a vault of the config ({known}) nor a path that exists"
            "{name:?} 既不是配置中的保险库（{known}），也不是已存在的路径"
        UnknownVaultNoConfig { name: String }
            "{name:?} is not a path that exists, and the config names no vaults"
            "{name:?} 不是已存在的路径，配置中也没有任何保险库"
        ReplicaTwice { address: String }
            "the replica {address} is named twice"
            "副本 {address} 被指定了两次"
        NothingToRepairFrom {}
            "there is nothing to repair from: fewer than two replicas are named"
            "没有可用于修复的来源：指定的副本少于两个"
        OneReplica {}
            "there is nothing to bring level: fewer than two replicas are named"
            "没有可同步的对象：指定的副本少于两个"
        NoDirectory { variable: &'static str }
            "there is no directory to use: neither {variable} nor HOME is set"
            "没有可用的目录：{variable} 和 HOME 均未设置"

        ConfigInvalid { path: String, line: usize, reason: String }
            "{path}, line {line}: {reason}"
            "{path} 第 {line} 行：{reason}"
        ConfigTooLong { path: String }
            "{path} is too long for a config file"
            "{path} 过长，不是有效的配置文件"
        ConfigVaultInvalid { path: String, name: String, key: &'static str, value: String }
            "{path}: vault {name:?}: {key} cannot be {value:?}"
            "{path}：保险库 {name:?} 的 {key} 不能是 {value:?}"

        NoPassword {}
            "no password is given, and there is no terminal to ask on or the answer was empty"
            "未提供口令，且没有终端可供询问，或输入为空"
        PasswordEmpty {}
            "the password is empty"
            "口令为空"
        PasswordNotText {}
            "the password is not UTF-8 text"
            "口令不是 UTF-8 文本"
        PasswordsDiffer {}
            "the two passwords differ"
            "两次输入的口令不一致"
        PasswordCommandFailed {}
            "the password command failed"
            "口令命令执行失败"
        SecretTooLong {  path: String }
            "{path} is too long for a password or key"
            "{path} 过长，不是有效的口令或密钥文件"

        NoRecoveryKit {}
            "a vault needs a second way in, and none was chosen"
            "保险库需要第二种开启途径，但尚未选择"
        WriteRecoveryKit { path: String }
            "write the recovery kit {path}"
            "写入恢复套件 {path} 失败"
        WriteShare { path: String }
            "write the share {path}"
            "写入密钥份额 {path} 失败"
        WriteIdentity { path: String }
            "write the identity {path}"
            "写入身份密钥 {path} 失败"
        AfterNeedsWriter {}
            "--after is for the role writer only"
            "--after 只适用于 writer 角色"

        BadStdinName { name: String }
            "{name:?} cannot be a file's path in a snapshot"
            "{name:?} 不能作为快照中的文件路径"
        BadTreePath { path: String }
            "{path:?} cannot be a path in a snapshot"
            "{path:?} 不能作为快照中的路径"
        PatternsTooLong { path: String }
            "{path} is too long for a file of patterns"
            "{path} 过长，不是有效的模式文件"
        Unconfirmed {}
            "nothing was done: the plan above was not confirmed"
            "未执行任何操作：上述计划未经确认"
        SnapshotHeld { snapshot: String }
            "nothing was done: snapshot {snapshot} is held"
            "未执行任何操作：快照 {snapshot} 处于保全状态"
        WriteManual { dir: String }
            "write the manual pages to {dir}"
            "将手册页写入 {dir} 失败"

        NotADirectory { path: String }
            "{path} is not a directory that can be read"
            "{path} 不是可读取的目录"
        PathNotText { path: String }
            "the path {path} is not UTF-8 text, so its commands could not be typed"
            "路径 {path} 不是 UTF-8 文本，相应命令无法手工输入"
        QuickDirectory { path: String }
            "use {path} for the tour's files"
            "无法使用 {path} 存放演示文件"
        QuickInsideSource { dir: String }
            "the temporary directory {dir} lies inside the directory that is to be copied into it"
            "临时目录 {dir} 位于要复制到其中的目录之内"
        QuickStep { command: String, status: String }
            "this command of the tour failed ({status}): {command}"
            "演示中的命令失败（{status}）：{command}"
    }
}

impl Problem {
    /// What the vault says, which is English, behind its kind where the language is another.
    pub(crate) fn of_vault(kind: Kind, text: String) -> Self {
        match kind {
            Kind::NoVault => Self::VaultNoVault { text },
            Kind::WrongKey => Self::VaultWrongKey { text },
            Kind::Forbidden => Self::VaultForbidden { text },
            Kind::Damaged => Self::VaultDamaged { text },
            Kind::Missing => Self::VaultMissing { text },
            Kind::Input => Self::VaultInput { text },
            Kind::Unavailable => Self::VaultUnavailable { text },
            Kind::Denied => Self::VaultDenied { text },
            Kind::Full => Self::VaultFull { text },
            Kind::Conflict => Self::VaultConflict { text },
            Kind::NotTheWriter => Self::VaultNotTheWriter { text },
            Kind::Unlocked => Self::VaultUnlocked { text },
            Kind::Unsupported => Self::VaultUnsupported { text },
            Kind::Bug => Self::VaultBug { text },
        }
    }
}
